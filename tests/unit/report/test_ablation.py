"""What an ablation adds to the page: the A/A arm beside the verdict, and results at fixed temperatures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import t as student

from sdl_study.arms import ANY, SD, Arm
from sdl_study.record.reading import read_study
from sdl_study.report.cards import answer, sweep
from sdl_study.report.page.card import Card
from sdl_study.report.page.drawing import marks
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.study_page import write_page
from sdl_study.study.plan import Plan
from tests.unit.report.studies import answered, declared, searched
from tests.unit.study.fakes import small_study

TAUS = (0.05, 0.1, 0.5)


def frames_of(plan: Plan) -> StudyFrames:
    return StudyFrames(read_study(plan.files))


def quality(arm: str, seed: int) -> float:
    return {"sd": 4.0, "aa": 4.1, "any": 2.0}.get(arm, 1.0) + 0.3 * ((seed + (arm == "aa")) % 2)


def not_itself(arm: str, seed: int) -> float:
    return {"sd": 4.0, "aa": 1.0, "any": 2.0}.get(arm, 1.0) + 0.05 * seed


def of_aa(plan: Plan) -> Card:
    return answer.card(frames_of(plan))


def test_the_aa_arm_stands_beside_the_verdict(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, quality, seeds=5, aa="sd")
    card = of_aa(plan)
    assert card.sentence.startswith("The setting chosen for sd is better than the setting chosen for any.")
    assert card.sentence.endswith("Against itself on other seeds (A/A), sd shows no difference.")
    assert card.frame is not None
    assert card.frame["role"].to_list() == ["primary", "A/A"]
    assert card.frame["contrast"][1] == "sd − aa"
    assert any("no difference, as it must be" in line for line in card.lines)
    assert "opened 16 times" in card.lines[0]
    assert marks(card.figures) == 2
    own = [row.slot.name for row in frames_of(plan).scored]
    assert set(own) == {"any", "sd"}
    assert "sd shows no difference" in write_page(plan.files).read_text()


def test_an_aa_arm_that_differs_warns_of_the_verdict(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, not_itself, seeds=5, aa="sd")
    card = of_aa(plan)
    assert "But sd is better than itself on other seeds (A/A, +" in card.sentence
    (line,) = (line for line in card.lines if line.startswith("A/A"))
    assert "by chance this happens in 5% of studies" in line


def test_restricted_data_hide_the_few_patients_of_the_aa_arm(tmp_path: Path) -> None:
    plan = searched(tmp_path, terms="restricted")
    answered(plan, quality, seeds=5, aa="sd", documents=12)
    assert not any("6 groups" in line for line in of_aa(plan).lines)


@pytest.fixture
def swept(tmp_path: Path) -> Plan:
    arms = (SD, ANY, *(Arm(f"tau_{tau:g}", "sd", fixed={"temperature": tau}) for tau in TAUS))
    return searched(tmp_path, made=replace(small_study(), arms=arms, ablates=True))


def test_fixed_temperatures_stand_in_a_row(swept: Plan) -> None:
    answered(swept, lambda arm, seed: 2.0 + (arm == "tau_0.1") + 0.2 * (seed % 2))
    study = frames_of(swept)
    card = sweep.card(study)
    table = card.frame
    assert table is not None
    assert table["temperature"].to_list() == list(TAUS)
    assert marks(card.figures) == table.height == 3
    found = study.record.answer
    assert found is not None
    row = next(row for row in found.table if row.name == "tau_0.1")
    assert row.test is not None
    assert row.spread is not None
    half = student.ppf(0.975, 2) * row.spread / 3**0.5
    assert table.row(1)[3:] == (row.test, pytest.approx(row.test - half), pytest.approx(row.test + half), 3)
    assert "(τ = 0.1)." in card.sentence
    assert "n = 3 temperatures, 3 seeds each" in (card.note or "")


def test_before_an_answer_and_with_one_seed_the_sweep_says_what_is_missing(swept: Plan) -> None:
    declared(swept)
    assert "have no test value yet" in sweep.card(frames_of(swept)).sentence
    answered(swept, quality, seeds=1)
    card = sweep.card(frames_of(swept))
    assert card.frame is not None
    assert card.frame["low"].is_null().all()
    assert "one seed says nothing" in (card.note or "")


def test_without_fixed_temperatures_there_is_no_sweep(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    assert sweep.card(frames_of(plan)).sentence.startswith("Does not apply")
