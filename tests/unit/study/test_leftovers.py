"""What a trial that has ended leaves on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.record.finals import FinalSlot, final_slots
from sdl_study.record.outcome import Failure, Repeat, write_outcome
from sdl_study.record.trials import TrialRecord
from sdl_study.study.leftovers import Leftovers
from tests.unit.report.studies import answered, searched


@pytest.mark.parametrize("left", [(), (LAST,), (LAST, BEST)])
def test_an_ended_trial_leaves_no_checkpoint_and_one_that_runs_all(
    left: tuple[str, ...], tmp_path: Path
) -> None:
    files = StudyFiles(tmp_path, "study")
    ended, running = (
        TrialRecord(number, "sd", 0, "running", {}, "random", {}, {}, None, 1) for number in (3, 4)
    )
    for record in (ended, running):
        folder = files.trial(record.number)
        folder.mkdir(parents=True)
        for name in (*left, "batches-0.jsonl"):
            (folder / name).touch()
    tidy = Leftovers(files)
    tidy.started(running)
    tidy.epoch(running, 1)
    tidy.ended(replace(ended, state="pruned"))
    assert [path.name for path in files.trial(3).iterdir()] == ["batches-0.jsonl"]
    assert {path.name for path in files.trial(4).iterdir()} == {*left, "batches-0.jsonl"}


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} & {LAST, BEST}


def leave_checkpoints(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST):
            (folder / name).touch()


def test_a_repeat_that_has_ended_leaves_none(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "study")
    ended, running = files.repeat(3, 0), files.repeat(3, 1)
    leave_checkpoints(ended, running)
    write_outcome(ended, Repeat(0.5))
    Leftovers(files).repeats([ended, running])
    assert (checkpoints(ended), checkpoints(running)) == (set(), {LAST, BEST})


def test_a_final_leaves_them_until_it_is_scored(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    declaration = answered(plan, lambda arm, seed: 2.0)
    scored, unscored, failed, *_ = final_slots(plan.files, declaration)
    leave_checkpoints(scored.folder, unscored.folder, failed.folder)
    unscored.predictions.unlink()
    failed.predictions.unlink()
    write_outcome(failed.folder, Failure("FloatingPointError"))
    Leftovers(plan.files).finals([scored, unscored, failed])
    assert [checkpoints(slot.folder) for slot in (scored, unscored, failed)] == [set(), {LAST, BEST}, set()]


def test_what_a_fine_tuning_starts_from_stays(tmp_path: Path) -> None:
    plan = searched(tmp_path, overrides={"stages": ("probe", "finetune")})
    declaration = answered(plan, lambda arm, seed: 2.0)
    slots = final_slots(plan.files, declaration)
    leave_checkpoints(*(slot.folder for slot in slots))
    Leftovers(plan.files).finals(slots)

    def left(slot: FinalSlot) -> bool:
        return checkpoints(slot.folder) == {LAST, BEST}

    kept = {(slot.role, slot.stage) for slot in slots if left(slot)}
    assert kept == {("final", "probe")}
    assert all(left(slot) for slot in slots if (slot.role, slot.stage) in kept)
