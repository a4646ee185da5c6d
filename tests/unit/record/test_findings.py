"""What trials tell of an arm: still rising or not, at which edge, able to learn or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdl_study.record.findings import (
    VALID_ANCHORS,
    Edge,
    convergence,
    could_learn,
    edges,
    remarks,
    valid_anchors,
)
from sdl_study.record.trials import State, TrialRecord
from sdl_study.space import Parameter, SearchSpace, choice, integer, log_uniform, uniform

RISING = (0.40, 0.60, 0.70, 0.75)
SETTLED = (0.90, 0.93, 0.925, 0.931)


def record(curve: tuple[float, ...], state: State = "complete", anchors: float | None = None) -> TrialRecord:
    more = {} if anchors is None else {VALID_ANCHORS: anchors}
    epochs = {n: {"dev/map": value, **more} for n, value in enumerate(curve, start=1)}
    best = {n: max(curve[:n]) for n in epochs}
    return TrialRecord(0, "sd", 0, state, {}, "tpe", epochs, best, None, 1)


@pytest.mark.parametrize(
    ("curve", "rising"),
    [
        (RISING, True),
        (SETTLED, False),
        (tuple(1 - 0.8**n for n in range(1, 9)), True),
        (tuple(0.9 - 0.5 * 0.3**n for n in range(16)), False),
        ((0.5,) * 8, False),
        ((0.577, 0.686, 0.745, 0.756), True),  # demo_coco, any: .928 with three times the epochs
        ((0.438, 0.479, 0.523, 0.539), True),  # and bce: .922
        ((0.594, 0.739, 0.788, 0.834, 0.877, 0.888, 0.895, 0.913, 0.922, 0.927, 0.928, 0.928), False),
        ((0.522, 0.664, 0.729, 0.796, 0.805, 0.866, 0.873, 0.879, 0.889, 0.888, 0.892, 0.893), False),
        ((0.1, 0.5, 0.6, 0.58, 0.55, 0.5, 0.45, 0.4), False),
        # demo_mimic, bce: it only comes back to what it was
        ((0.803, 0.811, 0.818, 0.816, 0.817, 0.813, 0.816, 0.815, 0.8145, 0.8165, 0.816, 0.817), False),
    ],
)
def test_rising_by_its_own_epochs(curve: tuple[float, ...], rising: bool) -> None:
    found = convergence([record(curve)], "dev/map", [[0.5]])
    assert found is not None
    assert found.rising is rising
    assert (found.over, found.epochs) == ("epochs", len(curve))
    assert found.best_epoch == 1 + int(np.argmax(curve))


def test_the_rise_is_that_of_a_line_through_the_last_quarter() -> None:
    found = convergence([record(tuple(0.01 * n for n in range(8)))], "dev/map", [])
    assert found is not None
    assert found.rise == pytest.approx(0.02)
    assert found.error == 0
    assert (found.last_half, found.gained) == pytest.approx((0.04, 0.07))
    assert found.rising


def test_noise_alone_is_seldom_a_rise() -> None:
    generator = np.random.default_rng(0)
    curves = 0.5 + 0.01 * generator.normal(size=(400, 12))
    told = [convergence([record(tuple(curve.tolist()))], "dev/map", []) for curve in curves]
    assert sum(found.rising for found in told if found is not None) < 0.1 * len(curves)


@pytest.mark.parametrize(("finals", "rising"), [([[0.7, 0.71, 0.69]], True), ([[0.6, 0.8]], False)])
def test_several_seeds_are_what_a_rise_is_measured_by(finals: list[list[float]], rising: bool) -> None:
    found = convergence([record(RISING)], "dev/map", finals)
    assert found is not None
    assert (found.rising, found.over) == (rising, "seeds")
    assert found.error == pytest.approx(np.std(finals[0], ddof=1) / len(finals[0]) ** 0.5)


def test_winners_of_several_searches_are_taken_together() -> None:
    both = convergence([record(RISING), record(SETTLED)], "dev/map", [[0.7], [0.9]])
    assert both is not None
    assert both.rise == pytest.approx((0.05 + 0.006) / 2)


@pytest.mark.parametrize("winner", [record((0.1, 0.2, 0.3)), record(RISING, "pruned")])
def test_a_curve_that_cannot_tell(winner: TrialRecord) -> None:
    assert convergence([winner], "dev/map", [[0.1, 0.2]]) is None


@pytest.mark.parametrize(
    ("parameter", "value", "end"),
    [
        (log_uniform("p", 1e-4, 1.0), 1.5e-4, "low"),
        (log_uniform("p", 1e-4, 1.0), 0.01, None),
        (uniform("p", 0.0, 1.0), 0.01, "low"),
        (uniform("p", 0.0, 1.0), 0.97, "high"),
        (uniform("p", 0.0, 1.0), 0.9, None),
        (integer("p", 1, 5), 5, "high"),
        (integer("p", 1, 1), 1, None),
        (choice("p", 32, 256, 64), 256, "high"),
        (choice("p", 32, 64), 64, None),
        (choice("p", "a", "b", "c"), "c", None),
        (choice("p", 1, 2, "b"), 2, None),
        (choice("p", True, False, None), True, None),
    ],
)
def test_edges(parameter: Parameter, value: Any, end: str | None) -> None:
    found = edges(SearchSpace((parameter,)), "sd", {"p": value})
    assert [(edge.parameter, edge.end) for edge in found] == ([] if end is None else [("p", end)])


def test_only_what_the_arm_searches_has_an_edge() -> None:
    space = SearchSpace((uniform("p", 0.0, 1.0, arms=("any",)), uniform("q", 0.0, 1.0)))
    assert edges(space, "sd", {"p": 1.0}) == ()
    assert edges(space, "any", {"p": 1.0}) == (Edge("p", "high", 1.0),)


@pytest.mark.parametrize(("share", "able"), [(0.009, False), (0.01, True), (1.0, True)])
def test_an_arm_with_next_to_nothing_to_contrast_cannot_learn(share: float, able: bool) -> None:
    winner = record(RISING, anchors=share)
    assert could_learn([winner]) is able
    assert valid_anchors([winner, record(SETTLED, anchors=1.0)]) == pytest.approx((share + 1) / 2)
    assert valid_anchors([record(RISING)]) is None
    assert could_learn([record(RISING)])


def test_remarks_of_a_trial() -> None:
    space = SearchSpace((uniform("loss.temperature", 0.0, 1.0),))
    trial = record(RISING)
    trial.parameters["loss.temperature"] = 1.0
    assert remarks(trial, "dev/map", space) == {"still_rising": "yes", "at_edge": "loss.temperature high"}
    assert remarks(record(SETTLED), "dev/map", space) == {"still_rising": "no", "at_edge": None}
    assert remarks(record(RISING, "pruned"), "dev/map", space)["still_rising"] is None
