"""Metrics, thresholds, tables and statistics of predictions; ``final`` is the only reader of test labels."""

from __future__ import annotations

from sdl_study.evaluation.metrics import multilabel_metrics
from sdl_study.evaluation.thresholds import tune_threshold

__all__ = ["multilabel_metrics", "tune_threshold"]
