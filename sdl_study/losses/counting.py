"""How many labels the pairs of a tile share, without an N × L or N × N matrix.

Few labels are heavy (carried by many rows): they form a narrow dense block, multiplied tile by tile. The many
others are light: each has a short list of rows, and a tile's shared light labels are counted entry by entry.
A label that one row alone carries makes no pair; it stays in the set sizes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sdl_study.label_sets import LabelSets
from sdl_study.losses.tiles import Tile

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

MAX_HEAVY = 128
HEAVY_SHARE = 1 / 20
"""A label is heavy if at least this share of the rows carries it: there a column of the dense block (about
0.02 ns per pair of the tile on one CPU core) is cheaper than its pairs one by one (about 5 ns each)."""

SMALL_DENSE = 1 << 20
"""Where one tile holds all pairs and the block of all labels has no more entries than this, all are heavy."""


class IntersectionCounter:
    """|S∩T| of all pairs of a tile, or Σ_{l∈S∩T} of a value per label.

    Args:
        labels: the label sets of the global batch.
        blocks: the column ranges of the tiles, ascending; together they are all rows.
        dtype, device: of the counts.
        values: [L] what a shared label counts; None is 1.

    Attributes:
        storage: the smallest integer dtype that holds every count.
    """

    def __init__(
        self,
        labels: LabelSets,
        blocks: Sequence[tuple[int, int]],
        dtype: torch.dtype,
        device: torch.device,
        values: Float64[np.ndarray, " L"] | None = None,
    ) -> None:
        frequencies = labels.counts()
        heavy = np.flatnonzero(frequencies >= 2)
        if len(blocks) > 1 or heavy.size * len(labels) > SMALL_DENSE:
            order = np.argsort(-frequencies, kind="stable")[:MAX_HEAVY]
            heavy = order[frequencies[order] >= max(2.0, HEAVY_SHARE * len(labels))]
        kind = np.where(frequencies >= 2, -2, -1)  # -1 seen once or never, -2 light, else the heavy column
        kind[heavy] = np.arange(heavy.size)
        rows = labels.row_of_entry()
        column = kind[labels.indices]
        dense = np.zeros(
            (len(labels), heavy.size), dtype=np.float64 if dtype == torch.float64 else np.float32
        )
        dense[rows[column >= 0], column[column >= 0]] = 1
        self._heavy = torch.from_numpy(dense).to(device, dtype)
        self._weighted = self._heavy
        if values is not None:
            self._weighted = self._heavy * torch.from_numpy(values[heavy]).to(device, dtype)
        self._starts = {block: number for number, block in enumerate(blocks)}
        light = column == -2
        self._has_light = bool(light.any())
        if self._has_light:
            self._index_light(rows[light], labels.indices[light], blocks, len(labels), device)
            self._value_of_entry = None
            if values is not None:
                self._value_of_entry = torch.from_numpy(values[labels.indices[light]]).to(device, dtype)
        largest = int(labels.sizes.max()) if len(labels) else 0
        kinds = (torch.int8, torch.int16, torch.int32)
        self.storage = next(kind for kind in kinds if largest <= torch.iinfo(kind).max)

    def _index_light(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        blocks: Sequence[tuple[int, int]],
        num_rows: int,
        device: torch.device,
    ) -> None:
        """Invert the light entries: for each label and column block, where its rows are listed."""
        names, compact = np.unique(labels, return_inverse=True)
        starts = np.array([start for start, _ in blocks])
        block_of_entry = np.searchsorted(starts, rows, side="right") - 1
        cells = np.bincount(block_of_entry * names.size + compact, minlength=len(blocks) * names.size)
        ends = np.cumsum(cells)
        by_block_and_label = np.lexsort((rows, compact, block_of_entry))
        self._members = torch.from_numpy(rows[by_block_and_label]).to(device)
        self._first = torch.from_numpy((ends - cells).reshape(len(blocks), names.size)).to(device)
        self._length = torch.from_numpy(cells.reshape(len(blocks), names.size)).to(device)
        self._row_entries = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
        self._row_of_entry = torch.from_numpy(rows).to(device)
        self._label_of_entry = torch.from_numpy(compact).to(device)

    def count(self, tile: Tile, out: Float[Tensor, "n m"] | None = None) -> Float[Tensor, "n m"]:
        """The intersections of a tile's pairs; an anchor with itself counts 0."""
        anchors, candidates = self._weighted[slice(*tile.rows)], self._heavy[slice(*tile.columns)]
        counts = torch.mm(anchors, candidates.T) if out is None else torch.mm(anchors, candidates.T, out=out)
        if self._has_light:
            self._add_light(tile, counts)
        if tile.diagonal is not None:
            counts.diagonal(tile.diagonal).zero_()
        return counts

    def _add_light(self, tile: Tile, counts: Float[Tensor, "n m"]) -> None:
        """Count every light label of every anchor at each row of the tile's columns that carries it."""
        begin, end = self._row_entries[tile.rows[0]], self._row_entries[tile.rows[1]]
        labels = self._label_of_entry[begin:end]
        block = self._starts[tile.columns]
        lengths = self._length[block][labels]
        total = int(lengths.sum())
        if total == 0:
            return
        offset = (self._row_of_entry[begin:end] - tile.rows[0]) * tile.shape[1] - tile.columns[0]
        # entry e covers positions first[e]…first[e] + lengths[e] of the member list
        behind = lengths.cumsum(0) - lengths
        both = torch.stack([self._first[block][labels] - behind, offset], dim=1)
        both = both.repeat_interleave(lengths, dim=0, output_size=total)
        members = self._members[both[:, 0] + torch.arange(total, device=both.device)]
        if self._value_of_entry is None:
            added = counts.new_ones(()).expand(total)
        else:
            added = self._value_of_entry[begin:end].repeat_interleave(lengths, output_size=total)
        counts.view(-1).scatter_add_(0, members + both[:, 1], added)
