"""The ablation over a tiny study, on a real cluster: arms of every kind train, and the A/A arm beside them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sdl_study.evaluation.ledger import read_ledger
from sdl_study.record.answer import Answer
from sdl_study.record.reading import read_study
from sdl_study.report.cards import answer as answer_card
from sdl_study.report.cards import sweep
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.study_page import write_page
from sdl_study.report.text import answer_text
from sdl_study.study.plan import Plan, make_plan
from search_spaces import ablation
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data, tiny_study
from tests.integration.tracked import runs_of

ARMS = ("sd", "similarity_only", "neither", "no_superset", "any", "tau_0.1")


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    study = ablation.of_base(tiny_study(tiny_data(out / "prepared")))
    given = {"arms": (*ARMS, "aa"), "budget.trials": 1, "train.epochs": 1, "controls": ("label_prior",)}
    return make_plan(study, out, "tiny_ablation", given, over=("ablation", "tiny"))


@pytest.fixture(scope="module")
def answer(plan: Plan, engines: Engines) -> Answer:
    return engines.run(plan)


def test_every_arm_has_as_many_trials_and_three_seeds(plan: Plan, answer: Answer) -> None:
    board = pl.read_csv(plan.files.leaderboard)
    assert sorted(board["arm"]) == sorted(ARMS)
    assert set(board["state"]) == {"complete"}
    finals = runs_of(plan, "final")
    assert sorted(run.data.params["arm"] for run in finals) == sorted((*ARMS, "aa") * 3)
    assert {run.data.metrics["trials_of_arm"] for run in finals} == {1.0}


def test_the_method_is_compared_with_what_lacks_a_part_of_it(answer: Answer) -> None:
    assert answer.primary is not None
    assert answer.primary.first == "sd"
    assert answer.primary.second in {"similarity_only", "neither", "no_superset", "any"}
    against = {contrast.second for contrast in answer.secondary if contrast.first == "sd"}
    assert against | {answer.primary.second} == {"similarity_only", "neither", "no_superset", "any"}


def test_neither_factor_is_any_computed_otherwise(answer: Answer) -> None:
    values = {row.name: row.test for row in answer.table}
    assert values["neither"] == pytest.approx(values["any"], abs=2e-3)
    assert values["similarity_only"] != values["sd"]


def test_the_method_against_itself_is_another_training_and_no_difference(plan: Plan, answer: Answer) -> None:
    assert answer.aa is not None
    assert (answer.aa.first, answer.aa.second) == ("sd", "aa")
    assert all(first != second for first, second in answer.aa.values)
    assert answer.aa.word == "not distinguishable"
    assert "A/A: the setting chosen for sd, trained once more" in answer_text(answer)
    own = [
        line for line in read_ledger(Path(str(plan.settings.data.path))) if line.identity.study == plan.name
    ]
    assert len(own) == 3 * (len(ARMS) + 1) + 1


def test_the_page_speaks_of_settings_three_seeds_and_the_temperature(plan: Plan, answer: Answer) -> None:
    study = StudyFrames(read_study(plan.files))
    card = answer_card.card(study)
    assert "the setting chosen for" in card.sentence.lower()
    assert "3 seeds" in (card.note or "")
    swept = sweep.card(study).frame
    assert swept is not None
    assert swept["temperature"].to_list() == [0.1]
    page = write_page(plan.files).read_text()
    assert "study ablation --base tiny --name tiny_ablation" in page
