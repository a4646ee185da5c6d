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
    from jaxtyping import Float

_CHUNK_CELLS = 1 << 24
_CACHE_CELLS = 1 << 17
_CHUNK_POSITIVES = 4096
_MANY_POSITIVES = 32


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

    Running sums over the sorted documents cost the same however many positives a label has; for rare labels
    one product with the comparisons' matrix is cheaper. ``columns`` ascend.
    """
    found = np.empty((weights.shape[0], rows.size))
    labels, first, count = np.unique(columns, return_index=True, return_counts=True)
    for label, start, size in zip(labels, first, count, strict=True):
        if size >= _MANY_POSITIVES:
            part = slice(start, start + size)
            found[:, part] = _running_weight(weights, by_label[label], by_label[label, rows[part]], ties=ties)
    rare = np.flatnonzero(np.repeat(count, count) < _MANY_POSITIVES)
    step = max(1, _CHUNK_CELLS // by_label.shape[1])
    for start in range(0, rare.size, step):
        part = rare[start : start + step]
        scores, own = by_label[columns[part]], by_label[columns[part], rows[part]][:, None]
        found[:, part] = weights @ (scores >= own if ties else scores > own).astype(weights.dtype).T
    return found


def _running_weight(
    weights: np.ndarray, scores: np.ndarray, own: np.ndarray, *, ties: bool
) -> Float[np.ndarray, "r p"]:
    """The same for one label; replicates side by side and few at a time, to stay in the processor's cache."""
    order = np.argsort(-scores, kind="stable")
    place = np.searchsorted(-scores[order], -own, side="right" if ties else "left")
    found = np.empty((weights.shape[0], own.size))
    step = max(1, _CACHE_CELLS // scores.size)
    for start in range(0, weights.shape[0], step):
        part = np.ascontiguousarray(weights[start : start + step].T)
        sums = np.zeros((scores.size + 1, part.shape[1]), dtype=weights.dtype)
        np.cumsum(part[order], axis=0, out=sums[1:])
        found[start : start + step] = sums[place].T
    return found


class LabelChunk:
    """Weighted ranks of the positives of some labels: values are [r, p], totals by label [r, l].

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
        self._own = weights[:, self._rows].astype(np.float64)
        self.positives = self._by_label_sum(self._own)

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
