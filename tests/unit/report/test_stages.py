"""The page of a study with both last stages: what is said of arms is of the stage that the verdict is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.record.reading import read_study
from sdl_study.report.cards import answer, leaderboard, trials
from sdl_study.report.page.frames import StudyFrames
from tests.unit.report.studies import answered, searched


@pytest.fixture
def study(tmp_path: Path) -> StudyFrames:
    """Two arms, three seeds, both stages, a verdict about fine-tuning."""
    plan = searched(tmp_path, overrides={"stages": ("probe", "finetune"), "stage": "finetune"})
    answered(plan, lambda arm, seed: {"any": 1.0, "sd": 2.0}.get(arm, 0.2))
    return StudyFrames(read_study(plan.files))


def test_finals_of_one_stage_alone_are_looked_into(study: StudyFrames) -> None:
    for arm in ("any", "sd"):
        assert [final.slot.stage for final in study.of_arm(arm)] == ["finetune"] * 3
    assert study.finals.group_by("stage").len().sort("stage").rows() == [("finetune", 6), ("probe", 7)]


def test_contrasts_of_the_other_stage_say_so(study: StudyFrames) -> None:
    assert answer.frame(study)["contrast"].to_list() == ["sd − any", "sd − any (probe)"]


def test_the_other_table_is_a_sentence_below_the_first(study: StudyFrames) -> None:
    found = study.record.answer
    assert found is not None
    table = leaderboard.frame(study)
    by_arm = dict(table.select("arm", "test").iter_rows())
    assert by_arm == {row.name: row.test for row in found.table}
    (line,) = leaderboard.card(study).lines
    (other,) = found.others
    assert line.startswith("After probe, a table of its own: test macro_f1 ")
    for row in other.table:
        assert f"{row.name} {row.test:.4f}" in line
        assert row.name == "label_prior" or row.test != by_arm[row.name]


def test_a_failed_final_is_told_with_its_stage(tmp_path: Path) -> None:
    plan = searched(tmp_path, overrides={"stages": ("probe", "finetune")})
    answered(plan, lambda arm, seed: 1.0, failing="any")
    lines = trials.card(StudyFrames(read_study(plan.files))).lines
    assert "final of any (finetune), seed 0, failed: FloatingPointError in training/step.py:12" in lines
    assert "final of any, seed 0, failed: FloatingPointError in training/step.py:12" in lines
