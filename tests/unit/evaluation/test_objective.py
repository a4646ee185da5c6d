"""What a study searches by: the metric itself, or its mean over the labels that dev can tell something about."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation.controls import tfidf_logistic_regression
from sdl_study.evaluation.metrics import OBJECTIVES, multilabel_metrics
from sdl_study.evaluation.objective import counted_labels, dev_metrics, objective_key

COUNTS = (30, 12, 20, 2, 15)


def case(seed: int = 0, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth; label 3 has two positives, label 1 twelve."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((rows, len(COUNTS)), dtype=bool)
    for label, count in enumerate(COUNTS):
        truth[rng.choice(rows, count, replace=False), label] = True
    return rng.random(truth.shape).astype(np.float32), truth


def found(scores: np.ndarray, truth: np.ndarray, objective: str, least: int) -> dict[str, float]:
    return dev_metrics(scores, truth, threshold=0.4, objective=objective, min_positives=least)


@pytest.mark.parametrize("objective", [f"dev/{name}" for name in OBJECTIVES])
@pytest.mark.parametrize("least", [0, 10])
def test_every_metric_keeps_its_definition_and_its_key(objective: str, least: int) -> None:
    scores, truth = case()
    metrics = multilabel_metrics(scores, truth, threshold=0.4)
    values = found(scores, truth, objective, least)
    assert {key: values[key] for key in values if key != "dev/objective"} == {
        f"dev/{name}": metrics[name] for name in OBJECTIVES
    }
    assert objective_key(objective, least) in values
    assert ("dev/objective" in values) == (least > 0 and objective in ("dev/map", "dev/macro_f1"))


@pytest.mark.parametrize("name", ["map", "macro_f1"])
@pytest.mark.parametrize(("least", "kept"), [(3, [0, 1, 2, 4]), (13, [0, 2, 4]), (1, [0, 1, 2, 3, 4])])
def test_the_objective_is_the_metric_of_the_labels_that_count(name: str, least: int, kept: list[int]) -> None:
    scores, truth = case()
    alone = multilabel_metrics(scores[:, kept], truth[:, kept], threshold=0.4)
    value = found(scores, truth, f"dev/{name}", least)["dev/objective"]
    assert value == pytest.approx(alone[name], abs=1e-12)


def test_one_lucky_label_does_not_move_the_objective() -> None:
    scores, truth = case()
    lucky = scores.copy()
    lucky[:, 3] = truth[:, 3]
    before, after = (found(given, truth, "dev/map", 10) for given in (scores, lucky))
    assert after["dev/map"] > before["dev/map"] + 0.1
    assert after["dev/objective"] == before["dev/objective"]


@pytest.mark.parametrize(
    ("positives", "least", "expected"),
    [
        ([30, 12, 20, 2], 10, [1, 1, 1, 0]),
        ([30, 12, 2, 2], 10, [1, 1, 0, 0]),  # half of them remain
        ([30, 2, 2, 9], 10, [1, 1, 1, 1]),  # fewer would: all count
        ([30, 10, 3, 0, 0, 0], 10, [1, 1, 0, 0, 0, 0]),  # labels that dev does not have are none of them
        ([0, 0], 10, [0, 0]),
        ([1, 1], 0, [1, 1]),
        ([0, 3], 0, [1, 1]),
    ],
)
def test_which_labels_count(positives: list[int], least: int, expected: list[int]) -> None:
    assert counted_labels(np.array(positives), least).astype(int).tolist() == expected


def test_where_too_few_would_remain_the_objective_is_the_metric() -> None:
    scores, truth = case()
    values = found(scores, truth, "dev/map", 40)
    assert values["dev/objective"] == values["dev/map"]


def test_a_control_is_tuned_by_the_same_value() -> None:
    """A label with one positive in dev would choose another strength."""
    rng = np.random.default_rng(5)
    words = np.array(["fever", "cough", "rash"])
    truth = rng.random((160, 3)) < np.array([0.5, 0.4, 0.15])
    texts = [" ".join([*words[row], *rng.choice([f"w{n}" for n in range(40)], 12)]) for row in truth]
    dev = truth[100:].copy()
    dev[:, 2] = False
    dev[7, 2] = True
    parts = (texts[:100], texts[100:], texts[:1])
    for least, key in ((0, "dev/map"), (10, "dev/objective")):
        alone = {
            c: tfidf_logistic_regression(parts, truth[:100], dev, c_grid=(c,), min_positives=least).chosen[
                key
            ]
            for c in (1e-3, 0.1, 10.0)
        }
        control = tfidf_logistic_regression(parts, truth[:100], dev, c_grid=tuple(alone), min_positives=least)
        assert control.chosen[key] == max(alone.values())
        assert found(control.dev, dev, "dev/map", least)[key] == control.chosen[key]
