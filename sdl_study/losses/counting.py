"""How many labels the pairs of a tile share, without an N × L or N × N matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sdl_study.losses.label_sets import LabelSets
from sdl_study.losses.tiles import Tile

if TYPE_CHECKING:
    from jaxtyping import Float


class IntersectionCounter:
    """|S∩T| of all pairs of a tile.

    Args:
        labels: the label sets of the global batch.
        dtype, device: of the counts.
    """

    def __init__(self, labels: LabelSets, dtype: torch.dtype, device: torch.device) -> None:
        frequencies = labels.counts()
        kept = np.flatnonzero(frequencies >= 2)  # a label seen once makes no pair
        column = np.full(labels.num_labels, -1)
        column[kept] = np.arange(kept.size)
        entries = np.flatnonzero(frequencies[labels.indices] >= 2)
        dense = torch.zeros((len(labels), kept.size), dtype=dtype)
        dense[
            torch.from_numpy(labels.row_of_entry()[entries]),
            torch.from_numpy(column[labels.indices[entries]]),
        ] = 1
        self._dense = dense.to(device)

    def count(self, tile: Tile) -> Float[Tensor, "n m"]:
        """The intersections of a tile's pairs; an anchor with itself counts 0."""
        counts = self._dense[slice(*tile.rows)] @ self._dense[slice(*tile.columns)].T
        if tile.diagonal is not None:
            counts.diagonal(tile.diagonal).zero_()
        return counts
