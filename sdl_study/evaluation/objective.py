"""The dev value that a study searches by, and the dev metrics beside it.

A mean over labels in which one label with two positives weighs as much as one with two hundred is decided by luck.
As an objective it is taken over the labels that dev can tell something about, under the key ``dev/objective``; the
metric itself keeps its definition and its key. Objectives that are no mean over labels are the metrics themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.metrics.definitions import OBJECTIVES, Metric, find
from sdl_study.evaluation.metrics.statistics import mean
from sdl_study.evaluation.metrics.values import Evidence
from sdl_study.evaluation.targets import as_pair

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from sdl_study.evaluation.targets import Labels, Scores

OVER_COUNTED_LABELS = "dev/objective"


def objective_key(objective: str, min_positives: int) -> str:
    """Under which key of the dev metrics the value stands that is searched by.

    Args:
        objective: the metric that is named, with ``dev/``.
        min_positives: positives in dev that a label needs to count; with 0 every label counts.
    """
    over_labels = find(objective.removeprefix("dev/")).over == "labels"
    return OVER_COUNTED_LABELS if over_labels and min_positives else objective


def counted_labels(positives: Int[np.ndarray, " L"], min_positives: int) -> Bool[np.ndarray, " L"]:
    """The labels that count in an objective.

    Those with at least so many positives in dev; all, where these are fewer than half of the labels with a positive.
    """
    enough = positives >= min_positives
    few = 2 * np.count_nonzero(enough) < np.count_nonzero(positives)
    return np.ones_like(enough) if few else enough


def dev_metrics(
    scores: Scores, labels: Labels, *, threshold: float, objective: str, min_positives: int
) -> dict[str, float]:
    """Every metric that may be an objective, as ``dev/...``, and the one that is searched by.

    Args:
        scores: probabilities for dev [n, L].
        labels: label sets or a multi-hot matrix [n, L].
        threshold: of the decisions.
        objective: ``dev/...``.
        min_positives: as in ``objective_key``.
    """
    array, targets = as_pair(scores, labels)
    evidence = Evidence(array, targets, threshold)
    found = {f"dev/{name}": evidence.value(find(name)) for name in OBJECTIVES}
    key = objective_key(objective, min_positives)
    if key not in found:
        found[key] = _counted(evidence, find(objective.removeprefix("dev/")), min_positives)
    return found


def _counted(evidence: Evidence, metric: Metric, min_positives: int) -> float:
    """A mean over labels, taken over those that count."""
    counted = counted_labels(evidence.targets.per_label, min_positives)
    return float(metric.combine(*(mean(values[counted]) for values in evidence.of_units(metric))))
