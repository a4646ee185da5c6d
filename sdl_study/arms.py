"""Arms: the strategies that a study compares fairly, each with the settings that make it what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["contrastive", "supervised"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: name in tables, tags and commands.
        strategy: name of the loss: one of ``sdl_study.losses.build_loss`` or, supervised, ``bce`` or ``asl``.
        stage: ``contrastive`` trains encoder and projection head; ``supervised`` trains encoder and a linear head
            that is then thrown away, for as many examples.
        loss_settings: names of the loss settings that the strategy takes, beside the temperature.
        is_sd: whether it is a variant of the Similarity-Dissimilarity loss.
    """

    name: str
    strategy: str
    stage: Stage = "contrastive"
    loss_settings: tuple[str, ...] = field(default=())
    is_sd: bool = False


_SD_SETTINGS = ("similarity_power", "dissimilarity_power", "relation_weights", "normalizer")

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("bce", "bce", "supervised"),
        Arm("asl", "asl", "supervised"),
        Arm("any", "any"),
        Arm("all", "all"),
        Arm("mulsupcon", "mulsupcon", loss_settings=("per_anchor_mean",)),
        Arm("jaccard", "jaccard"),
        Arm("sd", "sd", loss_settings=_SD_SETTINGS, is_sd=True),
        Arm("sd_weighted", "sd", loss_settings=_SD_SETTINGS, is_sd=True),
    )
}

CONTRASTIVE = tuple(name for name, arm in ARMS.items() if arm.stage == "contrastive")
