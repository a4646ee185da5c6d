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


@dataclass(frozen=True, slots=True)
class RankCounts:
    """For every positive: how many cells, and how many positives, of its row score below and the same as
    it."""

    row: Int[np.ndarray, " nnz"]
    below: Int[np.ndarray, " nnz"]
    same: Int[np.ndarray, " nnz"]
    positives_below: Int[np.ndarray, " nnz"]
    positives_same: Int[np.ndarray, " nnz"]
    positives: Int[np.ndarray, " m"]
    width: int


def rank_counts(
    matrix: Float[np.ndarray, "m w"], row: Int[np.ndarray, " nnz"], column: Int[np.ndarray, " nnz"]
) -> RankCounts:
    """Count around every positive cell (row, column) within its row of the matrix."""
    values = matrix[row, column]
    ordered = np.sort(matrix, axis=1)
    below = _bisect(ordered, row, values, right=False)
    same = _bisect(ordered, row, values, right=True) - below
    positives = np.bincount(row, minlength=matrix.shape[0])
    positives_below, positives_same = _counts_among_positives(row, values, positives)
    return RankCounts(row, below, same, positives_below, positives_same, positives, matrix.shape[1])


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


def average_precision(counts: RankCounts) -> Float[np.ndarray, " m"]:
    """Non-interpolated average precision of every row; NaN where a row has no positive.

    Tied scores enter together, as in scikit-learn's ``average_precision_score``.
    """
    positives_at_least = counts.positives[counts.row] - counts.positives_below
    precision = positives_at_least / (counts.width - counts.below)
    total = np.bincount(counts.row, weights=precision, minlength=counts.positives.size)
    with np.errstate(invalid="ignore"):
        return total / counts.positives


def roc_auc(counts: RankCounts) -> Float[np.ndarray, " m"]:
    """Area under the ROC curve of every row (Mann-Whitney, ties count half); NaN without both classes."""
    negatives = counts.width - counts.positives
    won = (counts.below - counts.positives_below) + 0.5 * (counts.same - counts.positives_same)
    total = np.bincount(counts.row, weights=won, minlength=counts.positives.size)
    with np.errstate(invalid="ignore"):
        return total / (counts.positives * negatives)


def flat_roc_auc(matrix: Float[np.ndarray, "m w"], row: np.ndarray, column: np.ndarray) -> float:
    """Area under the ROC curve of all cells together; NaN without both classes."""
    ordered = np.sort(matrix, axis=None)
    values = np.sort(matrix[row, column])
    negatives = ordered.size - values.size
    if values.size == 0 or negatives == 0:
        return float("nan")
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    below -= np.searchsorted(values, values, "left")
    upto -= np.searchsorted(values, values, "right")
    return float((below + upto).sum(dtype=np.int64) / (2 * values.size * negatives))


def tie_broken_rank(
    matrix: Float[np.ndarray, "m w"], counts: RankCounts, column: Int[np.ndarray, " nnz"]
) -> Int[np.ndarray, " nnz"]:
    """Place of every positive in its row by falling score, from 0; of equal scores the lower column comes
    first."""
    rank = counts.width - counts.below - counts.same
    tied = np.flatnonzero(counts.same > 1)
    step = max(1, _CHUNK_CELLS // matrix.shape[1])
    columns = np.arange(matrix.shape[1])
    for start in range(0, tied.size, step):
        part = tied[start : start + step]
        rows = matrix[counts.row[part]]
        own = rows[np.arange(part.size), column[part]]
        earlier = (rows == own[:, None]) & (columns < column[part][:, None])
        rank[part] += np.count_nonzero(earlier, axis=1)
    return rank
