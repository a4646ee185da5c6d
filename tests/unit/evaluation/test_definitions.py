"""The table of metrics: what follows from it agrees with itself."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.metrics import (
    OBJECTIVES,
    PRIMARY_METRICS,
    Metric,
    all_metrics,
    find,
    lower_is_better,
    names,
    weighted_metric,
)
from sdl_study.evaluation.targets import as_targets

UNKNOWN = (
    "accuracy", "", "micro", "macro_", "micro_f1_caml", "micro_f1_present", "map_present", "macro_auc_present",
    "precision_at_0", "precision_at_", "precision_at_05", "precision_at_-1", "precision_at_1.5", "precision_at_{k}",
    "precision_at_٥", "precision_at_5_present", "precision_at_5\n", "Map", " map", "test/map",
)  # fmt: skip


def random_case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random((50, 7)) < 0.3
    return np.round(np.clip(0.4 * truth + 0.6 * generator.random(truth.shape), 0, 1), 2), truth


@pytest.mark.parametrize("ks", [(5, 8, 15), (1,), ()])
def test_values_come_under_the_names_of_the_table_and_in_its_order(ks: tuple[int, ...]) -> None:
    scores, truth = random_case()
    assert tuple(multilabel_metrics(scores, truth, threshold=0.5, ks=ks)) == names(ks)
    assert len(set(names(ks))) == len(names(ks))


@pytest.mark.parametrize("metric", all_metrics(), ids=names())
def test_a_metric_is_found_by_its_name(metric: Metric) -> None:
    assert find(metric.key) == metric


def test_cut_offs_are_of_any_number() -> None:
    assert find("precision_at_1234").k == 1234
    assert find("recall_at_3").words.count("3") == 1
    scores, truth = random_case()
    value = weighted_metric("precision_at_3", scores, as_targets(truth, truth.shape), 0.5)(np.ones((1, 50)))
    assert value[0] == multilabel_metrics(scores, truth, threshold=0.5, ks=(3,))["precision_at_3"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_metrics_are_refused(name: str) -> None:
    for call in (find, lower_is_better):
        with pytest.raises(ValueError, match="unknown metric"):
            call(name)
    with pytest.raises(ValueError, match="unknown metric"):
        weighted_metric(name, np.eye(3), as_targets(np.eye(3), (3, 3)), 0.5)


@pytest.mark.parametrize("metric", all_metrics(), ids=names())
def test_directions_are_what_perfect_predictions_say(metric: Metric) -> None:
    """Perfect scores reach a metric's best value, and their reverse is no better."""
    key = metric.key
    truth = random_case()[1]
    best, worst = (
        multilabel_metrics(scores.astype(np.float64), truth, threshold=0.5)[key] for scores in (truth, ~truth)
    )
    assert (best < worst) if lower_is_better(key) else (best >= worst)


def test_choices_of_the_settings_are_metrics() -> None:
    assert OBJECTIVES == ("micro_f1", "macro_f1", "map", "map_document")
    assert set(OBJECTIVES) < set(PRIMARY_METRICS) < set(names())
    assert {"micro_auc", "macro_auc", "precision_at_5"} < set(PRIMARY_METRICS)


@pytest.mark.parametrize("metric", all_metrics(), ids=names())
def test_a_definition_is_told_in_one_line(metric: Metric) -> None:
    words = metric.words
    assert words
    assert "{" not in words
    assert "\n" not in words
