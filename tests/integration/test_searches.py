"""Two independent searches of every arm on a real cluster: what lands in the journal, in MLflow and in the answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.record.answer import Answer
from sdl_study.record.journal import read
from sdl_study.report.text import answer_text
from sdl_study.study.driver import Driver
from sdl_study.study.plan import Plan
from sdl_study.workers.engine import Engine
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_plan
from tests.integration.tracked import runs_of

TWICE = {
    "arms": ("any", "sd"), "budget.trials": 4, "budget.searches": 2, "train.epochs": 2, "budget.selection_seeds": 1,
    "budget.selection_top": 1, "budget.selection_split": "kept", "controls": ("label_prior",),
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    return tiny_plan(out, TWICE, "searched_twice")


@pytest.fixture(scope="module")
def answer(plan: Plan, engines: Engines) -> Answer:
    return engines.run(plan)


def test_the_searches_share_the_trials_and_train_on_seeds_of_their_own(plan: Plan, answer: Answer) -> None:
    trials = read(plan.files.journal).all()
    assert Counter((trial.arm, trial.search) for trial in trials) == dict.fromkeys(
        [("any", 0), ("any", 1), ("sd", 0), ("sd", 1)], 2
    )
    published = {trial.search: trial for trial in trials if trial.arm == "sd" and trial.arm_number == 0}
    assert published[0].parameters == published[1].parameters
    assert published[0].epochs[1]["train/loss"] != published[1].epochs[1]["train/loss"]


def test_each_search_has_a_final_and_the_verdict_is_over_searches(plan: Plan, answer: Answer) -> None:
    primary = answer.primary
    assert primary is not None
    assert (answer.searches, primary.searches, primary.pairs, primary.seeds) == (2, 2, 2, (0, 1))
    assert primary.interval is not None
    first, *_ = (line for line in answer_text(answer).splitlines() if line.startswith("primary contrast:"))
    assert f"{primary.first} against {primary.second}, map (probe): " in first
    assert "the setting chosen" not in first
    assert Counter(run.data.tags["sdl.search"] for run in runs_of(plan, "trial")) == {"0": 4, "1": 4}


def test_the_same_again_trains_nothing(plan: Plan, answer: Answer) -> None:
    def no_engine() -> Engine:
        raise AssertionError("a finished study must not start an engine")

    with Driver(plan, PreparedData.load(str(plan.settings.data.path)), None) as driver:
        assert driver.run(no_engine) == answer
