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
        device: of this rank; images are augmented there.
    """

    def __init__(self, inputs: Inputs, train: TrainSettings, seed: int, device: torch.device) -> None:
        self._inputs, self._device, self._views = inputs, device, train.views
        self._augment = None if train.augment == "none" else Augmentation(train.augment, train.views, seed)

    def get(
        self, step: tuple[int, int], positions: Int[np.ndarray, " n"]
    ) -> tuple[dict[str, torch.Tensor], LabelSets]:
        """The encoder's inputs and the label sets of the examples at some positions in train.

        Args:
            step: the epoch and the step's number in it.
        """
        inputs, augment = self._inputs, self._augment
        rows, labels = inputs.train_rows[positions], inputs.train_labels[positions]
        if augment is None:
            return inputs.fetch(rows, self._device), labels
        pixels = inputs.store.pixels(rows).to(self._device, non_blocking=True)
        values = inputs.store.normalise(augment(pixels, step, positions))
        return {"pixel_values": values}, inputs.train_labels[np.tile(positions, self._views)]
