"""What comes after pretraining: the last stages of a final, and their settings.

Two tables come of two stages, never mixed: the linear probe on the frozen encoder, and full fine-tuning.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Stage = Literal["probe", "finetune"]
PROBE: Stage = "probe"
FINETUNE: Stage = "finetune"


class Section(BaseModel):
    """A part of the settings: immutable; a name it does not have and a number without end are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class ProbeSettings(Section):
    """The linear probe on frozen embeddings.

    ``l2_grid`` holds the strengths to choose from (a single one is taken as it is); with ``grow`` the grid goes on
    where its end is the best. ``scaling`` are the ways of scaling the embeddings to choose from: each dimension to
    deviation 1 (``standard``), or each embedding to length 1 (``unit``). Both are chosen by the log loss on dev, or on
    a part of train held out from the probe, of which an encoder that is trained on labels knows the answers
    (``chosen_on``). An epoch's probe is fitted on at most
    ``max_rows`` rows of train (None: all), the same in all trials; the last stage of a final always on all.
    """

    l2_grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    grow: bool = True
    scaling: tuple[Literal["standard", "unit"], ...] = Field(default=("standard", "unit"), min_length=1)
    chosen_on: Literal["train", "dev"] = "dev"
    max_rows: int | None = Field(default=None, ge=2)

    @field_validator("l2_grid")
    @classmethod
    def _positive(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or min(grid) <= 0:
            raise ValueError("needs at least one strength, each above 0")
        return grid


class FinetuneSettings(Section):
    """Full fine-tuning: encoder and a classification head train on the labels.

    It is the same for all arms but for the rate: without a ``learning_rate`` it is the one that the arm's winner
    pretrained with, and that of its head, since a published encoder and one from scratch learn at rates far apart.

    It starts from the encoder that the arm's final of the same seed pretrained. The arms ``bce`` and ``asl`` have
    nothing to start from: they train once, with their own settings of ``train``, for as many examples as both stages
    show the others. The epoch that is best on dev by the head's own scores counts.

    An epoch passes over train once, or as often as it takes to show ``min_examples`` in all epochs together. Rates and
    decay are meant as in ``train``; images are shown as they are. How it is computed (``precision``,
    ``micro_batch``, ...) is taken from ``train``.

    The ``head`` is linear on the pooled embedding, or attends to the tokens of a text label by label
    (``label_attention``); ``loss`` is what it trains with.
    """

    epochs: int = Field(default=10, ge=1)
    min_examples: int = Field(default=0, ge=0)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float | None = Field(default=None, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=0.0, ge=0)
    loss: Literal["bce", "asl"] = "bce"
    head: Literal["linear", "label_attention"] = "linear"
