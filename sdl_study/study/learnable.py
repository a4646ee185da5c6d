"""Whether the arms of a study can learn anything, told before the first trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from sdl_study.arms import merged
from sdl_study.config import Settings
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.errors import UserError
from sdl_study.models import parse_encoder_settings
from sdl_study.record.findings import LEAST_VALID_ANCHORS
from sdl_study.setting_paths import with_values
from sdl_study.space import SearchSpace
from sdl_study.study.checks import possible_values, searched_values
from sdl_study.study.located import encoder_of
from sdl_study.study.losses import ArmLoss
from sdl_study.training.inputs import train_labels

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.losses import LabelSets
    from sdl_study.study.plan import Plan

_BATCHES = 20
_ROWS = 8_192  # enough for a share of 1%; large batches need fewer of them
_CLEARLY = 10 * LEAST_VALID_ANCHORS  # a batch with so many settles it


def check_trains(
    space: SearchSpace,
    settings: Settings,
    losses: Mapping[str, ArmLoss],
    origin: str,
    module: Path | None = None,
) -> None:
    """A contrastive arm trains something that is kept: its projection head is not.

    Raises:
        UserError: an encoder that a trial may get is frozen as a whole.
    """
    contrastive = [name for name, loss in losses.items() if loss.arm.contrasts]
    if not contrastive:
        return
    for name in possible_values(space, settings, "model.encoder"):
        of_freeze = f"model.encoders.{name}.freeze"
        searched = searched_values(space, of_freeze)
        for variant in [settings, *(with_values(settings, {of_freeze: value}, origin) for value in searched)]:
            if _is_frozen(variant.model.encoders[name], module):
                raise UserError(
                    f"{origin}: model.encoders.{name}: is frozen, so that arm {', '.join(contrastive)} would train "
                    "nothing that is kept, and all arms would be the same; train some of it, or name supervised arms "
                    "alone"
                )


def _is_frozen(chosen: Mapping[str, Any], module: Path | None) -> bool:
    """Whether none of an encoder's weights is trained: ``freeze`` means this for every kind, but with adapters."""
    found = parse_encoder_settings(*encoder_of(chosen, module))
    return bool(getattr(found, "freeze", False)) and not getattr(found, "lora_rank", 0)


def unable_arms(
    space: SearchSpace, settings: Settings, losses: Mapping[str, ArmLoss], labels: LabelSets
) -> dict[str, float]:
    """Contrastive arms with next to nothing to contrast, and the share of rows that have something.

    The batches are those most in their favour: the largest, as aware of the labels as the search may make them.

    Args:
        space, settings, losses: the study's.
        labels: of train.
    """
    batch_size = largest_batch(space, settings)
    aware = float(max(possible_values(space, settings, "train.label_aware")))
    found = {}
    for name, loss in losses.items():
        if loss.arm.pretraining == "contrastive":
            share = _valid_anchors(_built(loss, settings), labels, batch_size, aware, settings.train.views)
            if share < LEAST_VALID_ANCHORS:
                found[name] = share
    return found


def largest_batch(space: SearchSpace, settings: Settings) -> int:
    """The largest batch that a trial may have."""
    return int(max(possible_values(space, settings, "train.batch_size")))


def _built(loss: ArmLoss, settings: Settings) -> Any:
    """The loss of an arm, with a value for every setting that is searched."""
    return loss.kind.build(loss.arm.loss_settings(merged(loss.sample, settings.loss), loss.kind.settings))


def _valid_anchors(loss: Any, labels: LabelSets, batch_size: int, label_aware: float, views: int) -> float:
    """Mean share of rows that a loss has something to contrast with, over the first batches of an epoch.

    Over as many as it takes to tell next to none from some. What a positive is follows from the labels alone, so that
    any embeddings do.
    """
    sampler = ContrastiveSampler(len(labels), batch_size, 0, labels=labels, label_aware=label_aware)
    batches = sampler.global_batches(1)
    shares = []
    for _, batch in zip(range(max(1, min(_BATCHES, _ROWS // batch_size))), batches, strict=False):
        generator = torch.Generator().manual_seed(0)
        shown = np.tile(batch, views)
        embeddings = functional.normalize(torch.randn(len(shown), 8, generator=generator), dim=1)
        loss(embeddings, labels[shown])
        shares.append(float(loss.valid_anchor_fraction))
        if shares[-1] >= _CLEARLY:
            break
    return float(np.mean(shares))


def unable_lines(plan: Plan, data: PreparedData) -> Iterator[str]:
    """Which arms cannot learn from the data, a line each; they run, so that the table is whole."""
    labels = train_labels(data, plan.settings)
    batch_size = largest_batch(plan.space, plan.settings)
    for arm, share in unable_arms(plan.space, plan.settings, plan.losses, labels).items():
        yield (
            f"arm {arm} cannot learn: {share:.1%} of the examples have anything to be contrasted with in batches of "
            f"{batch_size}; nothing will be compared with it"
        )
