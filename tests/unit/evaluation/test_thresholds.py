"""Thresholds: the best of the grid by trying each, and the same predictions when it is applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sdl_study.evaluation import multilabel_metrics, tune_threshold
from sdl_study.evaluation.thresholds import GRID

ZERO: Any = 0  # scikit-learn annotates zero_division as str


def case(dtype: type, decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    truth = generator.random((80, 6)) < 0.25
    scores = np.clip(0.3 * truth + generator.random((80, 6)) * 0.6, 0, 1).astype(dtype)
    return (scores if decimals is None else np.round(scores, decimals)), truth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 1])
def test_global_threshold_is_the_best_of_the_grid(dtype: type, decimals: int | None) -> None:
    scores, truth = case(dtype, decimals)
    tried = [
        f1_score(truth, scores.astype(np.float64) > t, average="micro", zero_division=ZERO) for t in GRID
    ]
    chosen = tune_threshold(scores, truth)
    assert chosen == GRID[int(np.argmax(tried))]
    assert multilabel_metrics(scores, truth, threshold=chosen)["micro_f1"] == pytest.approx(
        max(tried), abs=1e-12
    )


def test_scores_on_a_grid_point_are_treated_the_same_in_tuning_and_use() -> None:
    scores = np.repeat(GRID.astype(np.float32), 2).reshape(-1, 2)
    truth = np.zeros_like(scores, dtype=bool)
    truth[60:] = True
    chosen = tune_threshold(scores, truth)
    assert multilabel_metrics(scores, truth, threshold=chosen)["micro_f1"] == 1.0


def test_per_label_thresholds_are_each_labels_best() -> None:
    scores, truth = case(np.float64, None)
    truth[:, 2] = False
    chosen = tune_threshold(scores, truth, per_label=True)
    assert chosen.shape == (6,)
    for j in range(6):
        tried = [f1_score(truth[:, j], scores[:, j] > t, zero_division=ZERO) for t in GRID]
        expected = tune_threshold(scores, truth) if j == 2 else GRID[int(np.argmax(tried))]
        assert chosen[j] == expected
    better = multilabel_metrics(scores, truth, threshold=chosen)["macro_f1"]
    assert better >= multilabel_metrics(scores, truth, threshold=tune_threshold(scores, truth))["macro_f1"]


def test_nothing_to_find_gives_a_value_of_the_grid() -> None:
    assert tune_threshold(np.full((3, 2), 0.5), np.zeros((3, 2))) == 0.0


@pytest.mark.parametrize("threshold", [float("nan"), np.array([0.5, np.nan])])
def test_a_threshold_that_is_not_a_number_is_refused(threshold: Any) -> None:
    with pytest.raises(ValueError, match="threshold is not a number"):
        multilabel_metrics(np.full((3, 2), 0.5), np.eye(3, 2), threshold=threshold)


@pytest.mark.parametrize("per_label", [False, True])
@pytest.mark.parametrize("grid", [GRID[::-1], [0.1, np.nan, 0.3], [], [[0.1, 0.2]]])
def test_a_grid_that_does_not_rise_is_refused(grid: Any, per_label: Any) -> None:
    scores, truth = case(np.float64, None)
    with pytest.raises(ValueError, match="grid must be a list of rising numbers"):
        tune_threshold(scores, truth, per_label=per_label, grid=grid)


@pytest.mark.parametrize("per_label", [False, True])
def test_a_grid_may_be_a_list_with_repeats(per_label: Any) -> None:
    scores, truth = case(np.float64, None)
    given: Any = [0.2, 0.4, 0.4, 0.6]
    found = tune_threshold(scores, truth, per_label=per_label, grid=given)
    assert np.all(found == tune_threshold(scores, truth, per_label=per_label, grid=np.array([0.2, 0.4, 0.6])))
