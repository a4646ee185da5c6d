"""Every metric as a function of document weights, for resampling patients.

A bootstrap replicate that draws a patient twice counts that patient's documents twice, so a metric of the
replicate is the metric with integer document weights. What does not depend on the weights (sorting,
predictions, ranks) is done once; a replicate then costs sums. With weights that are all one, each gives the
value of ``multilabel_metrics``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.ranking import average_precision, rank_counts, tie_broken_rank
from sdl_study.evaluation.targets import Targets
from sdl_study.evaluation.thresholds import above

if TYPE_CHECKING:
    from jaxtyping import Float

    WeightedMetric = Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, " r"]]

_CHUNK_CELLS = 1 << 24
_CACHE_CELLS = 1 << 17
_CHUNK_POSITIVES = 4096
_MANY_POSITIVES = 32
_LABEL_MEANS = ("precision", "recall", "f1", "f1_caml")


def weighted_metric(
    name: str, scores: Float[np.ndarray, "n L"], targets: Targets, threshold: float | np.ndarray
) -> WeightedMetric:
    """The metric ``name`` of these predictions, as a function of weights [r, n] that gives [r] values.

    Raises:
        ValueError: a metric that ``multilabel_metrics`` does not have.
    """
    at_k = re.fullmatch(r"(precision|recall)_at_([1-9]\d*)", name)
    if at_k or name in ("map_document", "r_precision"):
        return _document_mean(*_ranked_documents(name, scores, targets, int(at_k[2]) if at_k else 0))
    if name in ("exact_match", "hamming_loss"):
        return _document_mean(*_decided_documents(name, above(scores, threshold), targets))
    if name in ("map", "macro_auc"):
        return _over_labels(name, scores, targets)
    if name == "micro_auc":
        return _flat_auc(scores, targets)
    average, _, what = name.removesuffix("_present").partition("_")
    if average == "micro" and what in _LABEL_MEANS[:3] and not name.endswith("_present"):
        return _counts(what, above(scores, threshold), targets, pooled=True, present=False)
    if average == "macro" and what in _LABEL_MEANS:
        predictions = above(scores, threshold)
        return _counts(what, predictions, targets, pooled=False, present=name.endswith("_present"))
    raise ValueError(f"unknown metric {name!r}; choose a key of multilabel_metrics")


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0, as precision, recall and F1 are defined."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0
    )


def _document_mean(values: Float[np.ndarray, " n"], counted: Float[np.ndarray, " n"]) -> WeightedMetric:
    """Mean of a value per document, over the documents that count."""

    def metric(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        with np.errstate(invalid="ignore"):
            return (weights @ values) / (weights @ counted)

    return metric


def _ranked_documents(
    name: str, scores: Float[np.ndarray, "n L"], targets: Targets, k: int
) -> tuple[np.ndarray, np.ndarray]:
    counts = rank_counts(scores, targets.rows, targets.columns)
    labelled = counts.positives > 0
    if name == "map_document":
        return np.nan_to_num(average_precision(counts)), labelled.astype(np.float64)
    rank = tie_broken_rank(scores, counts, targets.columns)
    limit = counts.positives[targets.rows] if name == "r_precision" else k
    hits = np.bincount(targets.rows[rank < limit], minlength=scores.shape[0])
    everyone = np.ones(scores.shape[0])
    if name.startswith("precision_at"):
        return hits / min(k, scores.shape[1]), everyone
    counted = labelled.astype(np.float64) if name == "r_precision" else everyone
    return hits / np.maximum(counts.positives, 1), counted


def _decided_documents(name: str, predictions: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    correct = predictions[targets.rows, targets.columns]
    found = np.bincount(targets.rows[correct], minlength=targets.shape[0])
    predicted, positives = np.count_nonzero(predictions, axis=1), targets.per_document
    everyone = np.ones(targets.shape[0])
    if name == "hamming_loss":
        return (predicted + positives - 2 * found) / targets.shape[1], everyone
    return ((found == positives) & (found == predicted)).astype(np.float64), everyone


def _counts(
    what: str, predictions: np.ndarray, targets: Targets, *, pooled: bool, present: bool
) -> WeightedMetric:
    """Precision, recall or F1 from weighted counts, of all cells together or averaged over labels."""
    from scipy.sparse import csr_array

    cells = np.ones(targets.rows.size)
    positives = csr_array((cells, (targets.rows, targets.columns)), shape=targets.shape)
    rows, columns = np.nonzero(predictions)
    predicted = csr_array((np.ones(rows.size), (rows, columns)), shape=targets.shape)
    parts = [positives.multiply(predicted).tocsr(), predicted, positives]
    if pooled:
        sums = [np.asarray(part.sum(axis=1)).reshape(-1, 1) for part in parts]
    else:
        sums = [part.T.tocsr() for part in parts]

    def metric(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
        if pooled:
            hits, guessed, true = (weights @ part for part in sums)
        else:
            hits, guessed, true = (np.asarray(part @ weights.T).T for part in sums)
        precision, recall = _divide(hits, guessed), _divide(hits, true)
        values = {"precision": precision, "recall": recall, "f1": _divide(2 * hits, guessed + true)}
        counted = true > 0 if present else np.ones_like(true, dtype=bool)
        if what != "f1_caml":
            return _row_mean(values[what], counted)
        p, r = _row_mean(precision, counted), _row_mean(recall, counted)
        return np.where(np.isnan(p), p, _divide(2 * p * r, p + r))

    return metric


def _row_mean(values: Float[np.ndarray, "r L"], counted: np.ndarray) -> Float[np.ndarray, " r"]:
    with np.errstate(invalid="ignore"):
        return np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)


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


def _over_labels(name: str, scores: Float[np.ndarray, "n L"], targets: Targets) -> WeightedMetric:
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
                return np.add.reduceat(own * _divide(upto, everyone), starts, axis=1) / total
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


def _flat_auc(scores: Float[np.ndarray, "n L"], targets: Targets) -> WeightedMetric:
    """AUC of all cells together; a cell weighs what its document weighs."""
    flat = scores.reshape(-1)
    order = np.argsort(flat, kind="stable")
    ordered, document = flat[order], order // scores.shape[1]
    is_positive = np.zeros(flat.size, dtype=bool)
    is_positive[targets.rows * scores.shape[1] + targets.columns] = True
    is_positive = is_positive[order]
    values = ordered[is_positive]
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")

    def one(weights: Float[np.ndarray, " n"]) -> float:
        cells = weights[document]
        negative = np.concatenate([[0.0], np.cumsum(np.where(is_positive, 0.0, cells))])
        own = cells[is_positive]
        with np.errstate(invalid="ignore", divide="ignore"):
            return float((own * 0.5 * (negative[below] + negative[upto])).sum() / (own.sum() * negative[-1]))

    return lambda weights: np.array([one(row) for row in weights])
