"""How one rank's share of the pairs (its anchors × all candidates) is cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

SMALL_PROBLEM = 512 * 512
"""Up to this many pairs one tile holds them all: the plain vectorised form."""

CPU_EDGE, ACCELERATOR_EDGE = 640, 4096
"""Tile sizes: a few tiles of the first kind stay in a CPU core's cache, the second kind fills a GPU."""


def tile_edge(device: torch.device) -> int:
    """Rows and columns of a full tile on a device."""
    return CPU_EDGE if device.type == "cpu" else ACCELERATOR_EDGE


@dataclass(frozen=True)
class Tile:
    """Anchors rows[0]:rows[1] against candidates columns[0]:columns[1], in numbers of the global batch.

    A mirrored tile lies above the diagonal of the rank's own square and stands for its transpose as well.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    mirrored: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def diagonal(self) -> int | None:
        """Offset of the diagonal on which anchor and candidate are the same row; None if it misses the tile."""
        offset = self.rows[0] - self.columns[0]
        height, width = self.shape
        return offset if -height < offset < width else None


@dataclass(frozen=True)
class TilePlan:
    """The tiles of anchors start:stop of a global batch of ``total`` rows, at most ``edge`` × ``edge`` each."""

    start: int
    stop: int
    total: int
    edge: int

    @property
    def is_plain(self) -> bool:
        """Whether the problem is small enough for one tile."""
        return (self.stop - self.start) * self.total <= SMALL_PROBLEM

    @cached_property
    def column_blocks(self) -> list[tuple[int, int]]:
        """The column ranges of all tiles, ascending; together they are all rows."""
        if self.is_plain:
            return [(0, self.total)]
        parts = ((0, self.start), (self.start, self.stop), (self.stop, self.total))
        return [block for part in parts for block in _blocks(*part, self.edge)]

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles, those of one anchor block in succession."""
        if self.stop == self.start or self.total < 2:
            return []
        if self.is_plain:
            return [Tile((self.start, self.stop), (0, self.total), mirrored=False)]
        own = _blocks(self.start, self.stop, self.edge)
        others = [block for block in self.column_blocks if not self.start <= block[0] < self.stop]
        made = []
        for i, rows in enumerate(own):
            made.append(Tile(rows, rows, mirrored=False))
            made += [Tile(rows, columns, mirrored=True) for columns in own[i + 1 :]]
            made += [Tile(rows, columns, mirrored=False) for columns in others]
        return made

    def visited_pairs(self) -> int:
        """Number of (anchor, candidate) pairs whose similarity one pass computes."""
        return sum(tile.shape[0] * tile.shape[1] for tile in self.tiles)


def _blocks(start: int, stop: int, edge: int) -> list[tuple[int, int]]:
    return [(at, min(at + edge, stop)) for at in range(start, stop, edge)]
