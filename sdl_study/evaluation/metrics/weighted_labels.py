"""Ranks of positives within their labels as functions of document weights.

A replicate needs the weight of the documents that score at least as high as each positive does, and above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_CHUNK_POSITIVES = 1024


class _RankedPositives:
    """The positives of all labels, label by label and by falling score.

    Attributes:
        rows, columns: cell of each positive.
        label_first: place of each present label's first positive.
        tie_first, tie_end: where the positives of the same label and score begin, and end.
    """

    def __init__(self, scores: Float[np.ndarray, "n L"], targets: Targets) -> None:
        values = scores[targets.rows, targets.columns]
        order = np.lexsort((-values, targets.columns))
        self.rows, self.columns, values = targets.rows[order], targets.columns[order], values[order]
        new_label = np.diff(self.columns, prepend=-1) != 0
        new_tie = new_label | (np.diff(values, prepend=np.nan) != 0)
        self.label_first = np.flatnonzero(new_label)
        ties = np.append(np.flatnonzero(new_tie), values.size)
        which = np.cumsum(new_tie) - 1
        self.tie_first, self.tie_end = ties[which], ties[which + 1]

    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of positives that hold whole labels, of about ``_CHUNK_POSITIVES``."""
        bounds, last = [0], 0
        for first, end in pairwise([*self.label_first.tolist(), self.rows.size]):
            if end - last > _CHUNK_POSITIVES and first > last:
                bounds.append(first)
                last = first
        return list(pairwise([*bounds, self.rows.size])) if self.rows.size else []


def _exact(weights: Float[np.ndarray, "r n"]) -> np.ndarray:
    """Counts as float32, whose sums are exact and whose products are fast; other weights as they are."""
    whole = np.array_equal(weights, np.rint(weights)) and weights.sum(axis=1).max(initial=0) < 2**24
    return weights.astype(np.float32 if whole else np.float64)


def _weight_above(
    weights: np.ndarray, by_label: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, ties: bool
) -> Float[np.ndarray, "r p"]:
    """Weight of the documents that score above (with ``ties`` at least) each positive on its label.

    A label's positives, by falling score, cut its documents into strips; what lies above a positive is the sum of the
    strips before it. Documents below the last positive are never looked at: of a good ranking, nearly all.
    ``columns`` ascend.
    """
    from scipy.sparse import csr_array

    labels, first = np.unique(columns, return_index=True)
    bounds = [*first.tolist(), rows.size]
    strips = [
        _strips(by_label[label], rows[start:end], ties=ties)
        for label, (start, end) in zip(labels, pairwise(bounds), strict=True)
    ]
    documents = np.concatenate([found for found, _ in strips])
    ends = np.cumsum(np.concatenate([sizes for _, sizes in strips]))
    ones = np.ones(documents.size, dtype=weights.dtype)
    of_strips = csr_array((ones, documents, np.append(0, ends)), shape=(rows.size, weights.shape[1]))
    sums = of_strips @ np.ascontiguousarray(weights.T)
    for start, end in pairwise(bounds):
        np.cumsum(sums[start:end], axis=0, out=sums[start:end])
    return sums.T


def _strips(
    scores: Float[np.ndarray, " n"], positives: np.ndarray, *, ties: bool
) -> tuple[Int[np.ndarray, " above"], Int[np.ndarray, " p"]]:
    """The documents above the last of a label's positives, strip by strip, and how many each strip has."""
    own = scores[positives]
    above = np.flatnonzero(scores >= own[-1] if ties else scores > own[-1])
    strip = np.searchsorted(-own, -scores[above], side="left" if ties else "right")
    return above[np.argsort(strip, kind="stable")], np.bincount(strip, minlength=own.size)


class LabelChunk:
    """Weighted ranks of the positives of some labels, computed when asked for.

    Values are [r, p], totals by label [r, l].

    Args:
        positives: of all labels.
        by_label: scores by label.
        weights: of the documents.
        bounds: the first positive of the chunk and the first after it.
    """

    def __init__(
        self,
        positives: _RankedPositives,
        by_label: Float[np.ndarray, "L n"],
        weights: Float[np.ndarray, "r n"],
        bounds: tuple[int, int],
    ) -> None:
        first, end = bounds
        self._by_label, self._weights = by_label, weights
        self._rows, self._columns = positives.rows[first:end], positives.columns[first:end]
        inside = (positives.label_first >= first) & (positives.label_first < end)
        self._starts = positives.label_first[inside] - first
        self._label_of = np.searchsorted(self._starts, np.arange(self._rows.size), side="right") - 1
        self._tie_first = positives.tie_first[first:end] - first
        self._tie_end = positives.tie_end[first:end] - first

    @cached_property
    def _own(self) -> Float[np.ndarray, "r p"]:
        """Weight of each positive's document."""
        return self._weights[:, self._rows].astype(np.float64)

    @cached_property
    def positives(self) -> Float[np.ndarray, "r l"]:
        """Weight of each label's positives."""
        return self._by_label_sum(self._own)

    def _by_label_sum(self, values: Float[np.ndarray, "r p"]) -> Float[np.ndarray, "r l"]:
        return np.add.reduceat(values, self._starts, axis=1)

    @cached_property
    def negatives(self) -> Float[np.ndarray, "r l"]:
        """Weight of each label's negatives."""
        return self._weights.sum(axis=1, dtype=np.float64)[:, None] - self.positives

    @cached_property
    def _sums(self) -> Float[np.ndarray, "r places"]:
        return np.concatenate([np.zeros((len(self._own), 1)), np.cumsum(self._own, axis=1)], axis=1)

    def _positives_before(self, place: np.ndarray) -> Float[np.ndarray, "r p"]:
        """Weight of the same label's positives before a place in the order of falling scores."""
        return self._sums[:, place] - self._sums[:, self._starts[self._label_of]]

    @cached_property
    def at_least(self) -> Float[np.ndarray, "r p"]:
        """Weight of the documents that score the same or higher."""
        return _weight_above(self._weights, self._by_label, self._rows, self._columns, ties=True)

    @cached_property
    def positives_at_least(self) -> Float[np.ndarray, "r p"]:
        """Weight of the positives among these."""
        return self._positives_before(self._tie_end)

    @property
    def negatives_below(self) -> Float[np.ndarray, "r p"]:
        """Weight of the negatives that score lower."""
        return self.negatives[:, self._label_of] - (self.at_least - self.positives_at_least)

    @property
    def negatives_upto(self) -> Float[np.ndarray, "r p"]:
        """Weight of the negatives that score lower or the same."""
        above = _weight_above(self._weights, self._by_label, self._rows, self._columns, ties=False)
        return self.negatives[:, self._label_of] - (above - self._positives_before(self._tie_first))

    def total(self, values: Float[np.ndarray, "r p"]) -> Float[np.ndarray, "r l"]:
        """Sum by label, each positive with its document's weight."""
        return self._by_label_sum(self._own * values)


def weighted_labels(
    scores: Float[np.ndarray, "n L"], targets: Targets
) -> Callable[[Float[np.ndarray, "r n"]], Iterator[LabelChunk]]:
    """Weighted ranks of the labels that have a positive, some labels at a time."""
    positives = _RankedPositives(scores, targets)
    by_label = np.ascontiguousarray(scores.T)

    def pieces(weights: Float[np.ndarray, "r n"]) -> Iterator[LabelChunk]:
        exact = _exact(weights)
        for bounds in positives.chunks():
            yield LabelChunk(positives, by_label, exact, bounds)

    return pieces
