"""What a trial that has ended leaves on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.record.trials import TrialRecord
from sdl_study.study.leftovers import Leftovers


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
