"""Ranks of positives among all cells together as functions of document weights.

A replicate needs the weight of the negative cells below each positive's score. These are counted once, document
by document, between the scores that positives have (levels), so that a replicate is one sparse product instead of
a sum over all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_SEGMENT_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class WeightedCells:
    """Weighted ranks among all cells: for every level of score the weight of the positives there, and of the negatives
    that score lower, and lower or the same."""

    own: Float[np.ndarray, "u r"]
    negatives_below: Float[np.ndarray, "u r"]
    negatives_upto: Float[np.ndarray, "u r"]
    negatives: Float[np.ndarray, " r"]

    @property
    def positives(self) -> Float[np.ndarray, " r"]:
        """Weight of all positives."""
        return self.own.sum(axis=0)

    @property
    def outranked(self) -> Float[np.ndarray, " r"]:
        """Sum over all positives of the negatives that score lower; those of the same score by half."""
        return (self.own * (0.5 * (self.negatives_below + self.negatives_upto))).sum(axis=0)


def weighted_cells(
    scores: Float[np.ndarray, "n L"],
    targets: Targets,
    of_units: Callable[[WeightedCells], Sequence[Float[np.ndarray, " r"]]],
) -> Callable[[Float[np.ndarray, "r n"]], Sequence[Float[np.ndarray, " r"]]]:
    """Statistics of weighted ranks among all cells; a cell weighs what its document weighs.

    What is kept takes 8 bytes for every pair of segment and document that holds a negative: at most twice the
    scores as float32, and a tenth of that where most negatives score below most positives.

    Args:
        scores: probabilities.
        targets: the labels.
        of_units: the statistics.
    """
    from scipy.sparse import csr_array

    values = scores[targets.rows, targets.columns]
    levels, level_of = np.unique(values, return_inverse=True)
    shape = (levels.size, len(scores))
    positives = csr_array((np.ones(values.size), (level_of, targets.rows)), shape=shape)
    blocks = list(_negatives_by_segment(scores, targets, levels)) if values.size else []
    negatives = (targets.shape[1] - targets.per_document).astype(np.float64)

    def ranks(weights: Float[np.ndarray, "r n"]) -> WeightedCells:
        columns = np.ascontiguousarray(weights.T, dtype=np.float64)
        below = np.zeros((2 * levels.size, len(weights)))
        for block in blocks:
            below += block @ columns
        np.cumsum(below, axis=0, out=below)
        return WeightedCells(positives @ columns, below[0::2], below[1::2], negatives @ columns)

    step = max(1, _SEGMENT_CELLS // max(1, 2 * levels.size))

    def means(weights: Float[np.ndarray, "r n"]) -> list[Float[np.ndarray, " r"]]:
        found = [of_units(ranks(weights[start : start + step])) for start in range(0, len(weights), step)]
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    return means


def _negatives_by_segment(
    scores: Float[np.ndarray, "n L"], targets: Targets, levels: Float[np.ndarray, " u"]
) -> Iterator[Any]:
    """Numbers [2u, n] of negatives by segment and document: sparse matrices that add up to them.

    Segment 2i lies between the positives' scores (levels) i - 1 and i, segment 2i + 1 is level i itself.
    Negatives above all levels lose to no positive and are left out.
    """
    from scipy.sparse import csr_array

    shape = (2 * levels.size, len(scores))
    step = max(1, _SEGMENT_CELLS // scores.shape[1])
    found: list[tuple[np.ndarray, ...]] = []
    for first in range(0, len(scores), step):
        found.append(_segment_counts(scores, targets, levels, first, step))
        last = first + step >= len(scores)
        if last or sum(counts.size for counts, _, _ in found) >= _SEGMENT_CELLS:
            counts, segments, documents = (np.concatenate(part) for part in zip(*found, strict=True))
            yield csr_array((counts, (segments, documents)), shape=shape)
            found = []


def _segment_counts(
    scores: Float[np.ndarray, "n L"], targets: Targets, levels: Float[np.ndarray, " u"], first: int, step: int
) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Numbers of negatives, their segments and documents, of ``step`` documents from ``first`` on."""
    part = scores[first : first + step].copy()
    inside = slice(*np.searchsorted(targets.rows, [first, first + step]))
    part[targets.rows[inside] - first, targets.columns[inside]] = np.inf
    part.sort(axis=1)  # neighbours share a segment, so that runs can be counted
    level = np.searchsorted(levels, part)
    segment = 2 * level + (levels[np.minimum(level, levels.size - 1)] == part)
    stride = 2 * levels.size + 1
    run = (segment + stride * np.arange(len(part))[:, None]).reshape(-1)
    start = np.flatnonzero(np.diff(run, prepend=-1))
    counts = np.diff(start, append=run.size)
    document, segment = np.divmod(run[start], stride)
    kept = segment < stride - 1
    return (
        counts[kept].astype(np.float32),
        segment[kept].astype(np.int32),
        (document[kept] + first).astype(np.int32),
    )
