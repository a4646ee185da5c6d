"""What the line of a trial that ended says of the time that is left."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from sdl_study.record.pace import Pace, seconds_of_finals
from sdl_study.record.trials import TrialRecord
from sdl_study.study.progress import Progress
from tests.unit.study.fakes import arms_named


def trial(number: int, epochs: int, seconds: float = 10.0, **more: object) -> TrialRecord:
    """A running trial of epochs that took some seconds each."""
    metrics = {epoch: {"dev/map": 0.5, "seconds": seconds} for epoch in range(1, epochs + 1)}
    record = TrialRecord(
        number, "sd", number, "running", {}, "tpe", metrics, dict.fromkeys(metrics, 0.5), None, attempts=1
    )
    return replace(record, **more)


def ended(number: int, epochs: int, seconds: float = 10.0) -> TrialRecord:
    return trial(number, epochs, seconds, state="complete")


def test_nothing_is_told_before_a_trial_has_ended() -> None:
    assert Pace().seconds_left(4) is None
    assert Pace([trial(0, 3)]).seconds_left(4) is None
    assert Pace([trial(0, 0, state="failed", failure="setting")]).seconds_left(4) is None
    assert seconds_of_finals([], 4, 2) is None


def test_what_runs_and_what_is_not_asked_yet_count() -> None:
    pace = Pace([ended(0, 4), ended(1, 2)])  # 30 s on the mean
    assert pace.seconds_left(2) == 0
    assert pace.seconds_left(5) == pytest.approx(90)
    pace.tell(trial(2, 1))
    assert pace.seconds_left(5) == pytest.approx(20 + 60)
    pace.tell(trial(2, 4))  # longer than the mean already
    assert pace.seconds_left(5) == pytest.approx(60)
    pace.tell(ended(2, 4))
    assert pace.seconds_left(3) == 0


def test_a_trial_that_the_machine_ended_is_asked_anew() -> None:
    lost = trial(1, 3, state="failed", failure="machine")
    assert Pace([ended(0, 4), lost]).seconds_left(2) == pytest.approx(40)


def test_finals_train_all_epochs() -> None:
    assert seconds_of_finals([ended(0, 4), ended(1, 2, 16.0)], 4, 3) == pytest.approx(3 * 4 * 12)


def test_the_line_of_a_trial_that_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progress("small", "dev/map", 4, 4, arms_named("sd"))
    progress.count([ended(0, 4)])
    clock[0] += 500  # stores are built
    progress.started(trial(1, 0))
    clock[0] += 500  # groups are started
    for epoch in range(1, 5):
        clock[0] += 20  # longer than training takes
        progress.epoch(trial(1, epoch), epoch)
    progress.ended(ended(1, 4))
    assert "[2/4 trials, about 2 min left]" in capsys.readouterr().out
    for number in (2, 3):
        progress.started(trial(number, 0))
        progress.ended(ended(number, 4))
    assert capsys.readouterr().out.rstrip().endswith("[4/4 trials]")
