"""A study with an arm that fixes a setting, the same loss twice (A/A) and losses outside of the usual eight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sdl_study.arms import ANY, MULTISUPCON, RANDOM_WEIGHTS, SD, Arm
from sdl_study.record.answer import Answer, read_answer
from sdl_study.report.text import answer_text
from sdl_study.study.plan import Plan, make_plan
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data, tiny_study
from tests.integration.tracked import runs_of

ARMS = (
    ANY,
    Arm("any_again", "any"),
    SD,
    Arm("similarity_only", "sd", fixed={"dissimilarity_power": 0.0}),
    MULTISUPCON,
    RANDOM_WEIGHTS,
    Arm(
        "focal",
        "asl",
        fixed={"gamma_negative": 2.0, "gamma_positive": 2.0, "clip": 0.0},
        pretraining="supervised",
    ),
)
NAMES = [arm.name for arm in ARMS]


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    study = replace(tiny_study(tiny_data(out / "prepared")), arms=ARMS, method="sd")
    fewer = {"budget.trials": 1, "budget.final_seeds": 2, "train.epochs": 2, "controls": ("label_prior",)}
    return make_plan(study, out, "arms", fewer)


@pytest.fixture(scope="module")
def answer(plan: Plan, engines: Engines) -> Answer:
    return engines.run(plan)


def test_the_leaderboard_names_every_arm(plan: Plan, answer: Answer) -> None:
    board = pl.read_csv(plan.files.leaderboard)
    assert sorted(board["arm"]) == sorted(NAMES)
    assert set(board["state"]) == {"complete"}


def test_mlflow_names_every_arm(plan: Plan, answer: Answer) -> None:
    assert sorted(run.data.params["arm"] for run in runs_of(plan, "final")) == sorted(NAMES * 2)
    (parent,) = runs_of(plan, "study")
    assert parent.data.params["arms"] == ",".join(NAMES)


def test_the_verdict_is_about_the_method_and_no_variant_of_it_is_what_it_is_compared_with(
    plan: Plan, answer: Answer
) -> None:
    assert answer.primary is not None
    assert answer.primary.first == "sd"
    assert answer.primary.second in {"any", "any_again", "multisupcon", "random_weights", "focal"}
    pairs = [(contrast.first, contrast.second) for contrast in answer.secondary]
    assert pairs[0] == ("similarity_only", answer.primary.second)
    others = [name for name in NAMES if name not in ("sd", "similarity_only", answer.primary.second)]
    assert pairs[1:] == [("sd", name) for name in others]
    chosen = "the setting chosen for sd against the setting chosen for"
    assert all(f"{chosen} {name}, map (probe)" in answer_text(answer) for name in others)
    assert [(contrast.first, contrast.second) for contrast in answer.twins] == [("any", "any_again")]


def test_the_same_setting_under_two_names_is_the_same_training(answer: Answer) -> None:
    values = {row.name: row.test for row in answer.table}
    assert values["any"] == values["any_again"]
    assert values["sd"] != values["similarity_only"]


def test_the_answer_is_read_as_it_was_written(plan: Plan, answer: Answer) -> None:
    assert read_answer(plan.files.answer) == answer
