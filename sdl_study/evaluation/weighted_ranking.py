"""Areas and average precision as functions of document weights: the part of ``weighted`` that ranks.

Over labels, a replicate needs the weight of the documents that score at least as high as each positive does.
Over all cells together it needs the weight of the negative cells below each positive's score: these are
counted once, document by document, between the scores that positives have, so that a replicate is one sparse
product instead of a sum over all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    WeightedMetric = Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, " r"]]

_CHUNK_CELLS = 1 << 24
_SEGMENT_CELLS = 1 << 22
_CACHE_CELLS = 1 << 17
_CHUNK_POSITIVES = 4096
_MANY_POSITIVES = 32


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0, as precision, recall and F1 are defined."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0
    )


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


def over_labels(name: str, scores: Float[np.ndarray, "n L"], targets: Targets) -> WeightedMetric:
    """Mean over labels of average precision or AUC, where the weights define it."""
    positives = _RankedPositives(scores, targets)
    by_label = np.ascontiguousarray(scores.T)

    def chunk_values(weights: np.ndarray, first: int, end: int) -> Float[np.ndarray, "r l"]:
        """The metric of each label of a chunk; NaN where the weights do not define it."""
        rows, columns = positives.rows[first:end], positives.columns[first:end]
        inside = (positives.label_first >= first) & (positives.label_first < end)
        starts = positives.label_first[inside] - first
        label_of = np.searchsorted(starts, np.arange(rows.size), side="right") - 1
        own = weights[:, rows].astype(np.float64)
        sums = np.concatenate([np.zeros((weights.shape[0], 1)), np.cumsum(own, axis=1)], axis=1)
        before_label = sums[:, starts[label_of]]
        upto = sums[:, positives.tie_end[first:end] - first] - before_label
        everyone = _weight_above(weights, by_label, rows, columns, ties=True)
        total = np.add.reduceat(own, starts, axis=1)
        with np.errstate(invalid="ignore"):
            if name == "map":
                return np.add.reduceat(own * divide(upto, everyone), starts, axis=1) / total
            above_positive = sums[:, positives.tie_first[first:end] - first] - before_label
            above_everyone = _weight_above(weights, by_label, rows, columns, ties=False)
            negatives = weights.sum(axis=1, dtype=np.float64)[:, None] - total
            lost = 0.5 * ((everyone - upto) + (above_everyone - above_positive))
            won = own * (negatives[:, label_of] - lost)
            return np.add.reduceat(won, starts, axis=1) / (total * negatives)

    def metric(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        exact = _exact(weights)
        total, defined = np.zeros(len(exact)), np.zeros(len(exact))
        for first, end in positives.chunks():
            values = chunk_values(exact, first, end)
            known = ~np.isnan(values)
            total += np.where(known, values, 0.0).sum(axis=1)
            defined += known.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return total / defined

    return metric


def flat_auc(scores: Float[np.ndarray, "n L"], targets: Targets) -> WeightedMetric:
    """AUC of all cells together (Mann-Whitney, ties count half); a cell weighs what its document weighs.

    What is kept takes 8 bytes for every pair of segment and document that holds a negative: at most twice the
    scores as float32, and a tenth of that where most negatives score below most positives.
    """
    from scipy.sparse import csr_array

    values = scores[targets.rows, targets.columns]
    if values.size == 0:
        return lambda weights: np.full(len(weights), np.nan)
    levels, level_of = np.unique(values, return_inverse=True)
    shape = (levels.size, len(scores))
    positives = csr_array((np.ones(values.size), (level_of, targets.rows)), shape=shape)
    blocks = list(_negatives_by_segment(scores, targets, levels))
    negatives = (targets.shape[1] - targets.per_document).astype(np.float64)

    def some(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        columns = np.ascontiguousarray(weights.T, dtype=np.float64)
        below = np.zeros((2 * levels.size, len(weights)))
        for block in blocks:
            below += block @ columns
        np.cumsum(below, axis=0, out=below)
        own = positives @ columns
        won = (own * 0.5 * (below[0::2] + below[1::2])).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return won / (own.sum(axis=0) * (negatives @ columns))

    step = max(1, _SEGMENT_CELLS // (2 * levels.size))
    return lambda weights: np.concatenate(
        [some(weights[start : start + step]) for start in range(0, len(weights), step)]
    )


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
