"""One update of one rank: its share of a global batch through the model, the loss, and the optimizer's step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.losses import LabelSets, NonFiniteEmbeddingsError
from sdl_study.training.model import PretrainingModel
from sdl_study.training.optimizer import build_optimizer, warmup_then_cosine
from sdl_study.workers.job import SettingFailure

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class NonFiniteLoss(SettingFailure):
    """The global loss is NaN or infinite; raised by every rank at the same step, before the update."""


@dataclass(frozen=True)
class Update:
    """What a step measured.

    Attributes:
        loss: of the global batch, before the update; the same on every rank.
        valid_anchor_fraction: share of the global batch's rows that were anchors.
        vectors: of this rank's rows, those whose spread tells a collapse: what a contrastive loss was given, or
            the encoder's embeddings.
    """

    loss: float
    valid_anchor_fraction: float
    vectors: Float[Tensor, "n width"]


class Step:
    """Model, loss, optimizer and schedule of a training; its gradients are those of the global batch.

    Args:
        model: what is trained, on its device.
        loss: called with a rank's outputs and label sets.
        train: the settings of training.
        steps: updates of the whole training, for the schedule.
    """

    def __init__(self, model: PretrainingModel, loss: Any, train: TrainSettings, steps: int) -> None:
        self.model, self._train = model, train
        self._loss = loss
        self._parallel = distributed.data_parallel(model)
        self._device_type = next(model.parameters()).device.type
        self._optimizer = build_optimizer(model, train)
        self._schedule = warmup_then_cosine(self._optimizer, steps, train.warmup_fraction)

    @property
    def learning_rate(self) -> float:
        """Of the next update."""
        return self._optimizer.param_groups[0]["lr"]

    def update(self, batch: dict[str, Tensor], labels: LabelSets) -> Update:
        """Learn from one global batch, of which this rank holds ``batch`` and ``labels``.

        Raises:
            NonFiniteLoss: on every rank, the model as it was.
        """
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._train.precision == "bf16"):
            outputs, embeddings = self._parallel(batch)
        loss = _finite_loss(self._loss, outputs, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._train.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._train.gradient_clip)
        self._optimizer.step()
        self._schedule.step()
        vectors = (outputs if self.model.unit_length else embeddings).detach()
        return Update(float(loss.detach()), float(self._loss.valid_anchor_fraction), vectors)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: ``model``, ``optimizer``, ``schedule``, and ``loss``, which may count its steps."""
        return {
            "loss": self._loss.state_dict() if isinstance(self._loss, nn.Module) else {},
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load(
        self,
        model: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any],
        loss: dict[str, Any] | None = None,
    ) -> None:
        """Put back what ``state`` gave."""
        if loss and isinstance(self._loss, nn.Module):
            self._loss.load_state_dict(loss)
        self.model.load_state_dict(model)
        self._optimizer.load_state_dict(optimizer)
        self._schedule.load_state_dict(schedule)


def _finite_loss(loss: Any, outputs: Float[Tensor, "n d"], labels: LabelSets) -> Float[Tensor, ""]:
    """The loss; where it is not finite, or refuses outputs that are not finite on any rank, the setting diverged."""
    try:
        value = loss(outputs, labels)
    except NonFiniteEmbeddingsError:  # which a loss raises on every rank alike
        raise NonFiniteLoss from None
    if not math.isfinite(float(value.detach())):
        raise NonFiniteLoss
    return value
