"""Ranking statistics of the positive cells of a score matrix, at the price of one sort.

Average precision, the area under the ROC curve and everything "at k" depend only on how many scores lie
above, at and below each positive's score. Each row is sorted once and all positives are looked up together,
so that no loop runs over labels or documents and no pair of cells is compared twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_CHUNK_CELLS = 1 << 24
# Rows without a positive are not sorted, and the others a few at a time: they stay in the processor's cache.
_SORTED_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class RowRanks:
    """Ranks within the rows of a matrix.

    For every positive: its row, and how many cells and how many positives of the row score below and the same.
    For every row: how many positives it has, of how many cells.
    """

    row: Int[np.ndarray, " nnz"]
    below: Int[np.ndarray, " nnz"]
    same: Int[np.ndarray, " nnz"]
    positives_below: Int[np.ndarray, " nnz"]
    positives_same: Int[np.ndarray, " nnz"]
    positives: Int[np.ndarray, " m"]
    width: int

    @property
    def negatives(self) -> Int[np.ndarray, " m"]:
        """Of each row."""
        return self.width - self.positives

    @property
    def precision_total(self) -> Float[np.ndarray, " m"]:
        """Sum over the row's positives of the share of positives among the cells that score the same or higher."""
        return self._by_row((self.positives[self.row] - self.positives_below) / (self.width - self.below))

    @property
    def outranked(self) -> Float[np.ndarray, " m"]:
        """Sum over the row's positives of the negatives that score lower; those of the same score by half."""
        below = self.below - self.positives_below
        return self._by_row(below + 0.5 * (self.same - self.positives_same))

    def _by_row(self, values: Float[np.ndarray, " nnz"]) -> Float[np.ndarray, " m"]:
        found = np.bincount(self.row, weights=values, minlength=self.positives.size)
        return found.astype(np.float64, copy=False)  # without a positive, bincount gives int64


@dataclass(frozen=True, slots=True)
class CellRanks:
    """Ranks among all cells of a matrix together: one unit, whose positives stand by rising score."""

    positives: Int[np.ndarray, " 1"]
    negatives: Int[np.ndarray, " 1"]
    negatives_below: Int[np.ndarray, " nnz"]
    negatives_upto: Int[np.ndarray, " nnz"]

    @property
    def outranked(self) -> Float[np.ndarray, " 1"]:
        """Sum over all positives of the negatives that score lower; those of the same score by half."""
        return (0.5 * (self.negatives_below + self.negatives_upto)).sum(keepdims=True)


def row_ranks(
    matrix: Float[np.ndarray, "m w"], row: Int[np.ndarray, " nnz"], column: Int[np.ndarray, " nnz"]
) -> RowRanks:
    """Count around every positive cell (row, column) within its row of the matrix, which may be a transposed view."""
    values = matrix[row, column]
    below, same = np.empty_like(row), np.empty_like(row)
    needed, place = np.unique(row, return_inverse=True)
    order = np.argsort(place, kind="stable")
    step = max(1, _SORTED_CELLS // matrix.shape[1])
    for start in range(0, needed.size, step):
        ordered = np.sort(matrix[needed[start : start + step]], axis=1)
        first, last = np.searchsorted(place, (start, start + step), sorter=order)
        part = order[first:last]
        below[part] = _bisect(ordered, place[part] - start, values[part], right=False)
        same[part] = _bisect(ordered, place[part] - start, values[part], right=True) - below[part]
    positives = np.bincount(row, minlength=matrix.shape[0])
    positives_below, positives_same = _counts_among_positives(row, values, positives)
    return RowRanks(row, below, same, positives_below, positives_same, positives, matrix.shape[1])


def _bisect(
    ordered: Float[np.ndarray, "m w"], row: np.ndarray, values: np.ndarray, *, right: bool
) -> Int[np.ndarray, " nnz"]:
    """``np.searchsorted`` of every value in its own row, all rows at once."""
    width = ordered.shape[1]
    flat, start = ordered.reshape(-1), row * width
    low, high = np.zeros_like(row), np.full_like(row, width)
    for _ in range(width.bit_length()):
        middle = (low + high) >> 1
        probed = flat[start + np.minimum(middle, width - 1)]
        further = (probed <= values) if right else (probed < values)
        further &= low < high
        low = np.where(further, middle + 1, low)
        high = np.where(further, high, middle)
    return low


def _counts_among_positives(
    row: np.ndarray, values: np.ndarray, positives: np.ndarray
) -> tuple[Int[np.ndarray, " nnz"], Int[np.ndarray, " nnz"]]:
    if row.size == 0:
        return np.zeros_like(row), np.zeros_like(row)
    order = np.lexsort((values, row))
    sorted_row, sorted_values = row[order], values[order]
    new_group = np.ones(row.size, dtype=bool)
    new_group[1:] = (sorted_row[1:] != sorted_row[:-1]) | (sorted_values[1:] != sorted_values[:-1])
    group = np.cumsum(new_group) - 1
    first = np.flatnonzero(new_group)
    sizes = np.diff(np.append(first, row.size))
    row_start = np.concatenate([[0], np.cumsum(positives)[:-1]])
    below, same = np.empty_like(row), np.empty_like(row)
    below[order] = first[group] - row_start[sorted_row]
    same[order] = sizes[group]
    return below, same


def cell_ranks(
    matrix: Float[np.ndarray, "m w"], row: Int[np.ndarray, " nnz"], column: Int[np.ndarray, " nnz"]
) -> CellRanks:
    """Count around every positive cell (row, column) among all cells."""
    ordered, values = np.sort(matrix, axis=None), np.sort(matrix[row, column])
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    below -= np.searchsorted(values, values, "left")
    upto -= np.searchsorted(values, values, "right")
    return CellRanks(np.array([values.size]), np.array([ordered.size - values.size]), below, upto)


def tie_broken_rank(
    matrix: Float[np.ndarray, "m w"], ranks: RowRanks, column: Int[np.ndarray, " nnz"]
) -> Int[np.ndarray, " nnz"]:
    """Place of every positive in its row by falling score, from 0; of equal scores the lower column comes
    first."""
    rank = ranks.width - ranks.below - ranks.same
    tied = np.flatnonzero(ranks.same > 1)
    step = max(1, _CHUNK_CELLS // matrix.shape[1])
    columns = np.arange(matrix.shape[1])
    for start in range(0, tied.size, step):
        part = tied[start : start + step]
        rows = matrix[ranks.row[part]]
        own = rows[np.arange(part.size), column[part]]
        earlier = (rows == own[:, None]) & (columns < column[part][:, None])
        rank[part] += np.count_nonzero(earlier, axis=1)
    return rank
