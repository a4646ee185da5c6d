"""The verdict: comparisons of two arms, their intervals and words, as data; ``report.sentences`` puts them in words."""

from __future__ import annotations

from sdl_study.evaluation.verdict.comparison import Comparison, Replicates, Word, compare
from sdl_study.evaluation.verdict.correction import correct_secondary, holm
from sdl_study.evaluation.verdict.intervals import (
    Interval,
    UndefinedMetricError,
    group_weights,
    interval_from_variances,
    paired_interval,
)

__all__ = [
    "Comparison",
    "Interval",
    "Replicates",
    "UndefinedMetricError",
    "Word",
    "compare",
    "correct_secondary",
    "group_weights",
    "holm",
    "interval_from_variances",
    "paired_interval",
]
