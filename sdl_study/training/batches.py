"""What a step learns from: a rank's examples as their store gives them, or augmented views of them, with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdl_study.config import TrainSettings
from sdl_study.losses import LabelSets
from sdl_study.training.augment import Augmentation
from sdl_study.training.inputs import Inputs, on_device, pinned

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True)
class Batch:
    """A rank's examples of one step, read and not yet on the device.

    Attributes:
        rows: of the data set, in the sampler's order.
        step: the epoch and the step's number in it.
        parts: positions in train of every micro-batch.
        chunks: what the store gives for them: the encoder's inputs, or pixels that are to be augmented.
        labels: of all rows that the loss gets, in the order of the chunks.
    """

    rows: Int[np.ndarray, " n"]
    step: tuple[int, int]
    parts: list[Any]
    chunks: list[dict[str, torch.Tensor]]
    labels: LabelSets


class Batches:
    """The batches of one training on one rank; each is a pure function of the step and the positions.

    With two views of every example a batch has twice as many rows, and the label sets stand twice in it.

    Args:
        inputs: what the job reads.
        train: the settings of training.
        seed: the job's.
        device: of this rank; images are augmented there.
        micro_batch: rows that pass the encoder at once; None: all.
    """

    def __init__(
        self,
        inputs: Inputs,
        train: TrainSettings,
        seed: int,
        device: torch.device,
        micro_batch: int | None = None,
    ) -> None:
        self._inputs, self._device, self._views = inputs, device, train.views
        self._examples = None if micro_batch is None else max(1, micro_batch // train.views)
        self._augment = None if train.augment == "none" else Augmentation(train.augment, train.views, seed)

    def read(self, item: tuple[tuple[int, int], Int[np.ndarray, " n"]]) -> Batch:
        """Read the examples of a step, in micro-batches of like length; may run in another thread.

        Args:
            item: the step, and this rank's positions in train.
        """
        step, positions = item
        inputs = self._inputs
        rows = inputs.train_rows[positions]
        parts = [positions]
        if self._examples is not None:
            order = positions[inputs.by_length(rows)]
            starts = range(0, len(order), self._examples)
            parts = [order[start : start + self._examples] for start in starts] or [order]
        chunks = [pinned(self._of(inputs.train_rows[part]), self._device) for part in parts]
        shown = np.concatenate([np.tile(part, self._views) for part in parts])
        return Batch(rows, step, parts, chunks, inputs.train_labels[shown])

    def _of(self, rows: Int[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        store = self._inputs.store
        return store.fetch(rows) if self._augment is None else {"pixels": store.pixels(rows)}

    def on_device(self, batch: Batch) -> tuple[list[dict[str, torch.Tensor]], LabelSets]:
        """The encoder's inputs of every micro-batch, on the device, and the label sets of their rows."""
        chunks = [on_device(chunk, self._device) for chunk in batch.chunks]
        augment, store = self._augment, self._inputs.store
        if augment is None:
            return chunks, batch.labels
        views = (
            augment(chunk["pixels"], batch.step, part)
            for chunk, part in zip(chunks, batch.parts, strict=True)
        )
        return [{"pixel_values": store.normalise(view)} for view in views], batch.labels
