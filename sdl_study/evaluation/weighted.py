"""Every metric as a function of document weights, for resampling patients.

A bootstrap replicate that draws a patient twice counts that patient's documents twice, so a metric of the
replicate is the metric with integer document weights. What does not depend on the weights (sorting,
predictions, ranks) is done once; a replicate then costs sums. With weights that are all one, each gives the
value of ``multilabel_metrics``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.ranking import average_precision, rank_counts, tie_broken_rank
from sdl_study.evaluation.targets import Targets
from sdl_study.evaluation.thresholds import above
from sdl_study.evaluation.weighted_ranking import divide, flat_auc, over_labels

if TYPE_CHECKING:
    from jaxtyping import Float

    from sdl_study.evaluation.weighted_ranking import WeightedMetric

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
        return over_labels(name, scores, targets)
    if name == "micro_auc":
        return flat_auc(scores, targets)
    average, _, what = name.removesuffix("_present").partition("_")
    if average == "micro" and what in _LABEL_MEANS[:3] and not name.endswith("_present"):
        return _counts(what, above(scores, threshold), targets, pooled=True, present=False)
    if average == "macro" and what in _LABEL_MEANS:
        predictions = above(scores, threshold)
        return _counts(what, predictions, targets, pooled=False, present=name.endswith("_present"))
    raise ValueError(f"unknown metric {name!r}; choose a key of multilabel_metrics")


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
        precision, recall = divide(hits, guessed), divide(hits, true)
        values = {"precision": precision, "recall": recall, "f1": divide(2 * hits, guessed + true)}
        counted = true > 0 if present else np.ones_like(true, dtype=bool)
        if what != "f1_caml":
            return _row_mean(values[what], counted)
        p, r = _row_mean(precision, counted), _row_mean(recall, counted)
        return np.where(np.isnan(p), p, divide(2 * p * r, p + r))

    return metric


def _row_mean(values: Float[np.ndarray, "r L"], counted: np.ndarray) -> Float[np.ndarray, " r"]:
    with np.errstate(invalid="ignore"):
        return np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)
