"""One update of one rank: its share of a global batch through the model, the loss, and the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.losses import LabelSets
from sdl_study.training import checkpoint
from sdl_study.training.gradients import NonFiniteLoss, batch_of
from sdl_study.training.model import PretrainingModel
from sdl_study.training.optimizer import build_optimizer, clip_gradients, warmup_then_cosine

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["NonFiniteLoss", "Step", "Update"]


@dataclass(frozen=True)
class Update:
    """What a step measured.

    Attributes:
        loss: of the global batch, before the update; the same on every rank.
        valid_anchor_fraction: share of the global batch's rows that were anchors.
        vectors: of this rank's rows, those whose spread tells a collapse: the encoder's embeddings or, where
            ``train.collapse_of`` says "outputs", what a contrastive loss was given.
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
        micro_batch: rows of this rank that pass the encoder at once; None is all of them.
    """

    def __init__(
        self,
        model: PretrainingModel,
        loss: Any,
        train: TrainSettings,
        steps: int,
        micro_batch: int | None = None,
    ) -> None:
        self.model, self._train, self._loss = model, train, loss
        self._batch = batch_of(model, loss, train, micro_batch)
        self._optimizer = build_optimizer(model, train)
        rates = [group["lr"] for group in self._optimizer.param_groups]
        self._shown = rates.index(train.learning_rate) if train.learning_rate in rates else 0
        self._schedule = warmup_then_cosine(self._optimizer, steps, train.warmup_fraction)

    @property
    def learning_rate(self) -> float:
        """Of the next update; of the encoder's upper layers where parts of the model have rates of their own."""
        return self._optimizer.param_groups[self._shown]["lr"]

    def update(self, chunks: Sequence[dict[str, Tensor]], labels: LabelSets) -> Update:
        """Learn from one global batch, of which this rank holds ``labels`` and, in their order, ``chunks``.

        Raises:
            NonFiniteLoss: on every rank, the model as it was.
        """
        self._optimizer.zero_grad(set_to_none=True)
        found = self._batch.backward(chunks, labels)
        if self._train.gradient_clip > 0:
            clip_gradients(self.model.parameters(), self._train.gradient_clip)
        self._optimizer.step()
        self._schedule.step()
        of_outputs = self._train.collapse_of == "outputs" and self.model.unit_length
        vectors = found.outputs if of_outputs else found.embeddings
        return Update(found.loss, float(self._loss.valid_anchor_fraction), vectors)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: ``model``, ``optimizer``, ``schedule``, and ``loss``, which may count its steps.

        Whole tensors, also where they are sharded: every rank has to call this at once.
        """
        return {
            "loss": self._loss.state_dict() if isinstance(self._loss, nn.Module) else {},
            "model": distributed.gathered(checkpoint.trained_weights(self.model)),
            "optimizer": distributed.gathered(self._optimizer.state_dict()),
            "schedule": self._schedule.state_dict(),
        }

    def load(
        self,
        model: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any],
        loss: dict[str, Any] | None = None,
    ) -> None:
        """Put back what ``state`` gave, of any number of ranks and however it was shared among them."""
        if loss and isinstance(self._loss, nn.Module):
            self._loss.load_state_dict(loss)
        now = self.model.state_dict()
        checkpoint.put_back(
            self.model, {name: distributed.laid_out_as(value, now[name]) for name, value in model.items()}
        )
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        moments = {
            place: {
                name: distributed.laid_out_as(value, parameters[place]) if value.ndim else value
                for name, value in of_one.items()
            }
            for place, of_one in optimizer["state"].items()
        }
        self._optimizer.load_state_dict({**optimizer, "state": moments})
        self._schedule.load_state_dict(schedule)
