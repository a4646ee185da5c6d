"""Every metric of some predictions at once; sorts, counts and ranks are made once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdl_study.evaluation.metrics.definitions import CUT_OFFS, PRESENT_SUFFIX, Metric, Universe, all_metrics
from sdl_study.evaluation.metrics.ranking import CellRanks, RowRanks, cell_ranks, row_ranks, tie_broken_rank
from sdl_study.evaluation.metrics.statistics import Counts, mean
from sdl_study.evaluation.targets import Targets, as_pair
from sdl_study.evaluation.thresholds import above

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from sdl_study.evaluation.targets import Labels, Scores


def label_counts(predictions: Bool[np.ndarray, "n L"], targets: Targets) -> Counts:
    """Counts of each label."""
    documents, width = targets.shape
    correct = predictions[targets.rows, targets.columns]
    hits = np.bincount(targets.columns[correct], minlength=width)
    predicted = np.count_nonzero(predictions, axis=0)
    return Counts(hits, predicted, targets.per_label, np.full(width, documents))


def pooled(counts: Counts) -> Counts:
    """Counts of all units together, as one unit."""
    parts = (counts.hits, counts.predicted, counts.positives, counts.cells)
    return Counts(*(part.sum(keepdims=True) for part in parts))


class Evidence:
    """What metrics read of some predictions; each part is made when it is read first.

    Args:
        scores: probabilities.
        targets: the labels.
        threshold: one number, or one for each label [L].
    """

    def __init__(
        self, scores: Float[np.ndarray, "n L"], targets: Targets, threshold: float | np.ndarray
    ) -> None:
        self.scores, self.targets, self._threshold = scores, targets, threshold
        self._top: dict[int | None, Counts] = {}

    @cached_property
    def predictions(self) -> Bool[np.ndarray, "n L"]:
        """Decisions at the threshold."""
        return above(self.scores, self._threshold)

    @cached_property
    def label_counts(self) -> Counts:
        """Decisions, counted by label."""
        return label_counts(self.predictions, self.targets)

    @cached_property
    def cell_counts(self) -> Counts:
        """Decisions, counted over all cells."""
        return pooled(self.label_counts)

    @cached_property
    def document_counts(self) -> Counts:
        """Decisions, counted by document."""
        rows, columns = self.targets.rows, self.targets.columns
        hits = self._by_document(rows[self.predictions[rows, columns]])
        return self._document_counts(hits, np.count_nonzero(self.predictions, axis=1))

    @cached_property
    def label_ranks(self) -> RowRanks:
        """Documents ranked by label."""
        return row_ranks(self.scores.T, self.targets.columns, self.targets.rows)

    @cached_property
    def document_ranks(self) -> RowRanks:
        """Labels ranked by document."""
        return row_ranks(self.scores, self.targets.rows, self.targets.columns)

    @cached_property
    def cell_ranks(self) -> CellRanks:
        """All cells ranked together."""
        return cell_ranks(self.scores, self.targets.rows, self.targets.columns)

    @cached_property
    def _sizes(self) -> Int[np.ndarray, " n"]:
        return self.targets.per_document

    @cached_property
    def _places(self) -> Int[np.ndarray, " nnz"]:
        """Of every positive in its document's ranking, from 0."""
        return tie_broken_rank(self.scores, self.document_ranks, self.targets.columns)

    def top_counts(self, k: int | None) -> Counts:
        """Documents' counts as if the k highest scores were predicted, without k as many as it has labels."""
        if k not in self._top:
            rows, width = self.targets.rows, self.targets.shape[1]
            sizes = self._sizes
            limit = sizes[rows] if k is None else k
            predicted = sizes if k is None else np.full(sizes.size, min(k, width))
            self._top[k] = self._document_counts(self._by_document(rows[self._places < limit]), predicted)
        return self._top[k]

    def _by_document(self, rows: Int[np.ndarray, " h"]) -> Int[np.ndarray, " n"]:
        return np.bincount(rows, minlength=self.targets.shape[0])

    def _document_counts(self, hits: np.ndarray, predicted: np.ndarray) -> Counts:
        documents, width = self.targets.shape
        return Counts(hits, predicted, self._sizes, np.full(documents, width))

    def read(self, metric: Metric) -> Counts | RowRanks | CellRanks:
        """What a metric's statistics read."""
        if metric.reads in ("top", "own size"):
            return self.top_counts(metric.k)
        return self._decisions(metric.over) if metric.reads == "decisions" else self._ranks(metric.over)

    def _decisions(self, over: Literal["labels", "documents", "cells"]) -> Counts:
        if over == "documents":
            return self.document_counts
        return self.label_counts if over == "labels" else self.cell_counts

    def _ranks(self, over: Literal["labels", "documents", "cells"]) -> RowRanks | CellRanks:
        if over == "documents":
            return self.document_ranks
        return self.label_ranks if over == "labels" else self.cell_ranks

    def of_units(self, metric: Metric) -> list[np.ndarray]:
        """A metric's statistics of each unit; NaN where one does not count or does not define it."""
        return metric.of_units(self.read(metric))

    def value(self, metric: Metric) -> float:
        """The metric."""
        return float(metric.combine(*map(mean, self.of_units(metric))))


def multilabel_metrics(
    scores: Scores,
    labels: Labels,
    *,
    threshold: float | np.ndarray,
    ks: Sequence[int] = CUT_OFFS,
    universe: Universe = "all",
) -> dict[str, float]:
    """All metrics of the table in ``definitions``.

    With ``universe="all"`` every label counts; the macro averages over labels with a positive here come along
    under the same keys with ``_present``. With ``universe="present"`` labels without a positive are dropped
    before anything is computed (also from rankings and pooled counts); every value comes under its plain key
    and, since tables show it beside the other universe's, under the key with ``_present``.

    A prediction is a score above the threshold. Of equal scores the lower label index ranks first. A metric that
    no label or document defines is NaN. precision_at_k and recall_at_k are those of Mullenbach et al. (2018,
    CAML's evaluation.py), short rankings and unlabelled documents included.

    Args:
        scores: probabilities [n, L], float32 or float64.
        labels: label sets (CSR) or a multi-hot matrix [n, L].
        threshold: one number, or one for each label [L].
        ks: cut-offs of precision and recall at k.
        universe: which labels count.

    Raises:
        ValueError: scores that are no probabilities, labels or thresholds of another shape, a cut-off below
            1, no label present.
    """
    array, targets = as_pair(scores, labels)
    metrics = all_metrics(ks)
    if universe not in ("all", "present"):
        raise ValueError(f"universe is {universe!r}; choose from all, present")
    if universe == "all":
        evidence = Evidence(array, targets, threshold)
        return {metric.key: evidence.value(metric) for metric in metrics}
    evidence = _of_labels_present(array, targets, threshold)
    found = {m.key: evidence.value(m) for m in metrics if not m.key.endswith(PRESENT_SUFFIX)}
    return found | {f"{key}{PRESENT_SUFFIX}": value for key, value in found.items()}


def _of_labels_present(
    scores: Float[np.ndarray, "n L"], targets: Targets, threshold: float | np.ndarray
) -> Evidence:
    present = targets.per_label > 0
    if present.all():
        return Evidence(scores, targets, threshold)
    if not present.any():
        raise ValueError("no label has a positive, so none is present")
    limit = np.asarray(threshold)
    kept = limit[present] if limit.ndim == 1 and limit.shape[0] == present.size else threshold
    return Evidence(scores[:, present], targets.restrict(present), kept)
