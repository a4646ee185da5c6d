"""The literature's multi-label metrics: one table of definitions, and what follows from it.

``definitions`` holds the table: names, directions and the settings' choices. ``multilabel_metrics`` computes every
metric of some predictions, ``weighted_metric`` one of them for bootstrap replicates of the documents.
"""

from __future__ import annotations

from sdl_study.evaluation.metrics.definitions import (
    CUT_OFFS,
    OBJECTIVES,
    PRIMARY_METRICS,
    Metric,
    Universe,
    all_metrics,
    find,
    lower_is_better,
    names,
)
from sdl_study.evaluation.metrics.values import multilabel_metrics
from sdl_study.evaluation.metrics.weighted import weighted_metric

__all__ = [
    "CUT_OFFS",
    "OBJECTIVES",
    "PRIMARY_METRICS",
    "Metric",
    "Universe",
    "all_metrics",
    "find",
    "lower_is_better",
    "multilabel_metrics",
    "names",
    "weighted_metric",
]
