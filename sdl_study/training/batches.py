"""What a step learns from: a rank's examples as their store gives them, or augmented views of them, with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sdl_study.config import TrainSettings
from sdl_study.losses import LabelSets
from sdl_study.training.augment import Augmentation
from sdl_study.training.inputs import Inputs

if TYPE_CHECKING:
    from jaxtyping import Int


class Batches:
    """The batches of one training on one rank; each is a pure function of the step and the positions.

    With two views of every example a batch has twice as many rows, and the label sets stand twice in it.

    Args:
        inputs: what the job reads.
        train: the settings of training.
        seed: the job's.
    """

    def __init__(self, inputs: Inputs, train: TrainSettings, seed: int) -> None:
        self._inputs, self._views = inputs, train.views
        self._augment = None if train.augment == "none" else Augmentation(train.augment, train.views, seed)

    def read(self, step: tuple[int, int], positions: Int[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """What ``finish`` needs of the examples at some positions in train; a thread may read ahead.

        Args:
            step: the epoch and the step's number in it.
        """
        rows, store = self._inputs.train_rows[positions], self._inputs.store
        if self._augment is None:
            return store.fetch(rows)
        return {"pixels": store.pixels(rows), "draws": self._augment.draws(step, positions)}

    def finish(self, read: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
        """The encoder's inputs from what was read; images are augmented on the device."""
        there = {name: values.to(device, non_blocking=True) for name, values in read.items()}
        if self._augment is None:
            return there
        return {"pixel_values": self._inputs.store.normalise(self._augment(there["pixels"], there["draws"]))}

    def labels(self, positions: Int[np.ndarray, " n"]) -> LabelSets:
        """The label sets of the rows that ``finish`` gives."""
        return self._inputs.train_labels[np.tile(positions, self._views)]
