"""Where the tokens of a batch stand: in the store, end to end, and in a padded batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Where the tokens of some examples stand.

    Attributes:
        shape: of a batch: (n, T), or (n, C, T) where long texts stand in C chunks.
        where: places of all tokens in the batch, one array per axis.
        token: their places in the store, in the same order.
    """

    shape: tuple[int, ...]
    where: tuple[np.ndarray, ...]
    token: np.ndarray

    def mask(self) -> np.ndarray:
        """1 where a token stands, 0 at padding; int64."""
        mask = np.zeros(self.shape, dtype=np.int64)
        mask[self.where] = 1
        return mask


def ranges(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated ranges start…start+size, and the place of every entry inside its range."""
    place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts, sizes) + place, place
