"""The table of metrics: each definition once, under its own name.

A metric is a statistic of units (labels, documents, or all cells as one unit), and the mean of it over the units that
count and define it; a metric that none defines is NaN. Values (``values``), bootstrap replicates (``weighted``),
names, directions and the choices of the settings all follow from the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import truediv
from typing import Any, Literal

import numpy as np

from sdl_study.evaluation.metrics import statistics as of

Universe = Literal["all", "present"]
CUT_OFFS = (5, 8, 15)
PRESENT_SUFFIX = "_present"


def _itself(mean: Any) -> Any:
    return mean


@dataclass(frozen=True, slots=True)
class Metric:
    """One definition.

    Attributes:
        key: its name; ``{k}`` in it and in the words stands for a cut-off.
        words: the definition in a line.
        reads: what the statistics read of each unit: the ``decisions`` at the threshold, as if the ``top`` k scores
            or as many as the unit has positives (``own size``) were predicted, or the ``ranks`` of the positives.
        over: the units.
        statistics: functions of ``statistics``, each averaged over the units by itself.
        combine: makes the metric of these means.
        universe: the units over which the mean is taken: all, or those that are present, i.e. have a positive.
        lower_is_better: the direction.
        objective, primary: whether a study may search by it, and may declare it as its primary metric.
        k: the cut-off, of a metric that has one.
    """

    key: str
    words: str
    reads: Literal["decisions", "top", "own size", "ranks"]
    over: Literal["labels", "documents", "cells"]
    statistics: tuple[Callable[[Any], np.ndarray], ...]
    combine: Callable[..., Any] = _itself
    universe: Universe = "all"
    lower_is_better: bool = False
    objective: bool = False
    primary: bool = False
    k: int | None = None

    @property
    def has_cut_off(self) -> bool:
        """Whether this is one metric for every cut-off."""
        return "{k}" in self.key

    @property
    def averages_decisions(self) -> bool:
        """Whether it is a mean over labels of decisions at a threshold, to which a rare label's few cases count as much
        as a frequent one's many: macro-F1 and its like."""
        return self.over == "labels" and self.reads == "decisions"

    def at(self, k: int) -> Metric:
        """The metric of one cut-off."""
        return replace(self, key=self.key.format(k=k), words=self.words.format(k=k), k=k)

    def of_units(self, read: Any) -> list[np.ndarray]:
        """Each statistic of the units, from what it reads; NaN where a unit is outside the universe."""
        values = [statistic(read) for statistic in self.statistics]
        if self.universe == "all":
            return values
        return [np.where(read.positives > 0, value, np.nan) for value in values]


_TABLE = (
    Metric("micro_precision", "precision of all cells together",
           "decisions", "cells", (of.precision,)),
    Metric("micro_recall", "recall of all cells together",
           "decisions", "cells", (of.recall,)),
    Metric("micro_f1", "F1 of all cells together",
           "decisions", "cells", (of.f1,), objective=True, primary=True),
    Metric("macro_precision", "mean over labels of the precision; 0 where a label is never predicted",
           "decisions", "labels", (of.precision,)),
    Metric("macro_recall", "mean over labels of the recall; 0 where a label has no positive",
           "decisions", "labels", (of.recall,)),
    Metric("macro_f1", "mean over labels of each label's F1 (scikit-learn; Edin et al. 2023)",
           "decisions", "labels", (of.f1,), objective=True, primary=True),
    Metric("macro_f1_caml", "2PR/(P+R) of macro_precision and macro_recall (Mullenbach et al. 2018; CF1 on COCO)",
           "decisions", "labels", (of.precision, of.recall), of.harmonic),
    Metric("micro_auc", "area under the ROC curve of all cells together",
           "ranks", "cells", (of.roc_auc,), primary=True),
    Metric("macro_auc", "mean over labels with both classes of the area under the ROC curve",
           "ranks", "labels", (of.roc_auc,), primary=True),
    Metric("map", "mean over labels with a positive of non-interpolated average precision (COCO's mAP)",
           "ranks", "labels", (of.average_precision,), objective=True, primary=True),
    Metric("map_document", "mean over documents with a label of the average precision of their label ranking",
           "ranks", "documents", (of.average_precision,), objective=True, primary=True),
    # All documents have as many places, so the ratio of the means is the mean of the ratios.
    Metric("precision_at_{k}", "mean over documents of (labels among the {k} highest scores) / min({k}, L)",
           "top", "documents", (of.hits, of.predicted), truediv, primary=True),
    Metric("recall_at_{k}", "mean over documents of the share of its labels among the {k}; 0 without a label",
           "top", "documents", (of.recall,)),
    Metric("r_precision", "mean over documents with a label of the share found among as many as it has",
           "own size", "documents", (of.precision,), universe="present"),
    Metric("exact_match", "share of documents predicted exactly",
           "decisions", "documents", (of.exact,)),
    Metric("hamming_loss", "share of wrong cells",
           "decisions", "cells", (of.wrong,), lower_is_better=True),
)  # fmt: skip


def _over_labels_present(metric: Metric) -> Metric:
    words = f"{metric.words}; over the labels with a positive alone"
    key = metric.key + PRESENT_SUFFIX
    return replace(metric, key=key, words=words, universe="present", objective=False, primary=False)


# Those of ranks are undefined for a label without a positive, so the universe makes no difference to them.
_PRESENT = tuple(
    _over_labels_present(metric)
    for metric in _TABLE
    if metric.over == "labels" and metric.reads == "decisions"
)


def all_metrics(ks: Sequence[int] = CUT_OFFS) -> tuple[Metric, ...]:
    """Every metric, at every cut-off.

    Raises:
        ValueError: a cut-off below 1.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"cut-offs must be at least 1, not {min(ks)}")
    found: list[Metric] = []
    for metric in (*_TABLE, *_PRESENT):
        found += [metric.at(k) for k in ks] if metric.has_cut_off else [metric]
    return tuple(found)


def names(ks: Sequence[int] = CUT_OFFS) -> tuple[str, ...]:
    """Every key of ``multilabel_metrics``, by table order.

    Raises:
        ValueError: a cut-off below 1.
    """
    return tuple(metric.key for metric in all_metrics(ks))


def find(name: str) -> Metric:
    """The metric of a name, at whatever cut-off.

    Raises:
        ValueError: there is no such metric.
    """
    for metric in (*_TABLE, *_PRESENT):
        if not metric.has_cut_off and metric.key == name:
            return metric
        if metric.has_cut_off and (found := re.fullmatch(metric.key.format(k="([1-9][0-9]*)"), name)):
            return metric.at(int(found[1]))
    raise ValueError(f"unknown metric {name!r}; choose a key of multilabel_metrics")


def lower_is_better(name: str) -> bool:
    """The direction of a metric.

    Raises:
        ValueError: there is no such metric.
    """
    return find(name).lower_is_better


OBJECTIVES = tuple(metric.key for metric in all_metrics() if metric.objective)
PRIMARY_METRICS = tuple(metric.key for metric in all_metrics() if metric.primary)
