"""Every metric as a function of document weights, for resampling patients.

A bootstrap replicate that draws a patient twice counts that patient's documents twice, so a metric of the
replicate is the metric with integer document weights. What does not depend on the weights (sorting,
predictions, ranks) is done once; a replicate then costs sums. With weights that are all one, each gives the
value of ``multilabel_metrics``: both follow from the same definitions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sdl_study.evaluation.metrics.definitions import Metric, find
from sdl_study.evaluation.metrics.statistics import Counts
from sdl_study.evaluation.metrics.values import Evidence
from sdl_study.evaluation.metrics.weighted_cells import weighted_cells
from sdl_study.evaluation.metrics.weighted_labels import weighted_labels
from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Num

    WeightedMetric: TypeAlias = Callable[[Float[np.ndarray, "r n"]], Float[np.ndarray, " r"]]
    # The means of a metric's statistics: one value for each replicate.
    Means: TypeAlias = Callable[[Float[np.ndarray, "r n"]], Sequence[Float[np.ndarray, " r"]]]
    # What the statistics read of some units, for all replicates.
    Piece: TypeAlias = Callable[[], Any]
    Pieces: TypeAlias = Callable[[Float[np.ndarray, "r n"]], Iterator[Piece]]


def weighted_metric(
    name: str, scores: Float[np.ndarray, "n L"], targets: Targets, threshold: float | np.ndarray
) -> WeightedMetric:
    """The metric ``name`` of these predictions, as a function of weights [r, n] that gives [r] values.

    Raises:
        ValueError: a metric that ``multilabel_metrics`` does not have; of the function, weights that are no counts
            where ranks within labels are read.
    """
    metric = find(name)
    means = _means(metric, Evidence(scores, targets, threshold))
    return lambda weights: metric.combine(*means(weights))


def _means(metric: Metric, evidence: Evidence) -> Means:
    if metric.over == "documents":
        return _document_means(evidence.of_units(metric))
    if metric.reads == "ranks":
        if metric.over == "cells":
            return weighted_cells(evidence.scores, evidence.targets, metric.of_units)
        return _label_means(metric, weighted_labels(evidence.scores, evidence.targets))
    if metric.over == "cells":
        return _cell_counts(metric, evidence.document_counts)
    return _label_means(metric, _label_counts(evidence))


def _document_means(values: Sequence[Num[np.ndarray, " n"]]) -> Means:
    """Means of what documents have whatever they weigh, over those that have it."""
    known = [~np.isnan(value) for value in values]
    parts = [
        (np.where(at, value, 0.0), at.astype(np.float64)) for at, value in zip(known, values, strict=True)
    ]

    def means(weights: Float[np.ndarray, "r n"]) -> list[Float[np.ndarray, " r"]]:
        with np.errstate(invalid="ignore"):
            return [(weights @ value) / (weights @ counted) for value, counted in parts]

    return means


def _cell_counts(metric: Metric, counts: Counts) -> Means:
    """Statistics of all cells together; a cell weighs what its document weighs."""
    parts = [
        part.astype(np.float64) for part in (counts.hits, counts.predicted, counts.positives, counts.cells)
    ]
    return lambda weights: metric.of_units(Counts(*(weights @ part for part in parts)))


def _label_counts(evidence: Evidence) -> Pieces:
    """Weighted counts of all labels, in one piece."""
    from scipy.sparse import csr_array

    targets = evidence.targets
    cells = np.ones(targets.rows.size)
    positives = csr_array((cells, (targets.rows, targets.columns)), shape=targets.shape)
    rows, columns = np.nonzero(evidence.predictions)
    predicted = csr_array((np.ones(rows.size), (rows, columns)), shape=targets.shape)
    by_label = [part.T.tocsr() for part in (positives.multiply(predicted).tocsr(), predicted, positives)]

    def counts(weights: Float[np.ndarray, "r n"]) -> Counts:
        hits, guessed, true = (np.asarray(part @ weights.T) for part in by_label)
        return Counts(hits, guessed, true, np.broadcast_to(weights.sum(axis=1), hits.shape))

    return lambda weights: iter([partial(counts, weights)])


def _sums(metric: Metric, piece: Piece) -> Float[np.ndarray, "2 s r"]:
    """The sum over the labels of a piece that define a statistic, and how many do; of each statistic."""
    values = np.stack(metric.of_units(piece()))
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)])


def _label_means(metric: Metric, pieces: Pieces) -> Means:
    """Means over the labels that define the statistic under the weights."""

    def means(weights: Float[np.ndarray, "r n"]) -> list[Float[np.ndarray, " r"]]:
        total = np.zeros((2, len(metric.statistics), len(weights)))
        with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
            # In their order: the same to the bit, however many threads there are.
            for of_piece in pool.map(partial(_sums, metric), pieces(weights)):
                total += of_piece
        with np.errstate(invalid="ignore"):
            return list(total[0] / total[1])

    return means
