"""MLflow that does not take what it is told costs no trial, is told of in one line, and is mended from the journal."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from sdl_study.data.prepared import Manifest
from sdl_study.ending import MachineFailure
from sdl_study.record.answer import read_answer
from sdl_study.record.environment import read_environments
from sdl_study.record.files import BEST
from sdl_study.record.reading import read_study
from sdl_study.record.trials import TrialRecord
from sdl_study.study import publisher as publisher_module
from sdl_study.study.audit import tracking_findings
from sdl_study.study.opening import open_tracker
from sdl_study.study.plan import Plan
from sdl_study.study.publisher import TrialPublisher
from sdl_study.tracking import Tracker, runs_seen
from tests.unit.report.studies import curve, searched
from tests.unit.study.fakes import open_search, play
from tests.unit.study.played_finals import make_finals, opened, trained
from tests.unit.study.played_finals import play as play_finals


class Refusing:
    """A tracker that refuses for a time."""

    def __init__(self) -> None:
        self.refuses, self.told, self.reread_times = False, [], 0

    def trial(self, run: Any) -> None:
        if self.refuses:
            raise MlflowException("a text that may quote")
        self.told.append((run.number, run.state, len(run.epochs)))

    def reread(self) -> None:
        self.reread_times += 1

    reopen_parent = reread


class Broken(Refusing):
    """A tracker with a mistake."""

    def trial(self, run: Any) -> None:
        raise KeyError("a mistake of this project")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(publisher_module.time, "monotonic", lambda: now[0])
    return now


def of(plan: Plan, tracker: Any) -> tuple[TrialPublisher, list[str]]:
    said: list[str] = []
    return TrialPublisher(tracker, plan, said.append), said


def test_one_line_for_many_errors_and_one_when_it_is_over(tmp_path: Path, clock: list[float]) -> None:
    plan, tracker = searched(tmp_path, stop_after=6), Refusing()
    publisher, said = of(plan, tracker)
    trials = read_study(plan.files).trials
    publisher.ended(trials[0])
    tracker.refuses = True
    for trial in trials[1:4]:
        publisher.ended(trial)
    assert publisher.errors == 1  # left alone after the first
    clock[0] += 31
    publisher.ended(trials[4])
    assert publisher.errors == 2
    (line,) = said
    assert "MLflow does not take what it is told (INTERNAL_ERROR); the trials go on" in line
    assert "quote" not in line
    tracker.refuses = False
    publisher.ended(trials[5])
    assert len(tracker.told) == 1  # still left alone
    publisher.settle()
    assert [number for number, *_ in tracker.told] == [0, 1, 2, 3, 4, 5]
    assert tracker.reread_times == 2  # at each attempt after an error
    assert said[1:] == ["MLflow takes runs again, after 2 errors; it was brought up to the journal"]


def test_what_is_owed_at_the_end_is_said(tmp_path: Path, clock: list[float]) -> None:
    plan, tracker = searched(tmp_path, stop_after=2), Refusing()
    publisher, said = of(plan, tracker)
    tracker.refuses = True
    for trial in read_study(plan.files).trials:
        publisher.ended(trial)
    publisher.settle()
    assert "told 2 times in vain and lacks 2 trials" in said[-1]
    publisher.settle()
    assert publisher.errors == 3


def test_another_error_is_none_of_mlflows(tmp_path: Path) -> None:
    plan = searched(tmp_path, stop_after=1)
    publisher, _ = of(plan, Broken())
    with pytest.raises(KeyError):
        publisher.ended(read_study(plan.files).trials[0])


class Slow(Refusing):
    """A tracker that is in the middle of its first run until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.ended_as = ""

    def trial(self, run: Any) -> None:
        self.asked.set()
        assert self.let_go.wait(20.0)
        super().trial(run)

    def end_parent(self, status: str) -> None:
        assert self.let_go.wait(20.0)
        self.ended_as = status


def test_in_the_background_nobody_waits_and_what_is_told_meanwhile_is_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "_TOGETHER_SECONDS", 0.0)
    plan, tracker = searched(tmp_path, stop_after=3), Slow()
    publisher, _ = of(plan, tracker)
    first, second, third = read_study(plan.files).trials
    with publisher.in_background():
        publisher.started(first)
        assert tracker.asked.wait(20.0)
        for epoch in (1, 2):
            publisher.epoch(replace(second, epochs={at: second.epochs[at] for at in range(1, epoch)}), epoch)
        publisher.ended(second)
        assert tracker.told == []
        tracker.let_go.set()
        publisher.ended(third)
    assert [number for number, *_ in tracker.told] == [0, 1, 2]
    assert tracker.told[1] == (1, second.state, len(second.epochs))
    publisher.settle()
    assert len(tracker.told) == 3


def test_what_happens_to_a_trial_while_it_is_written_is_owed_still(tmp_path: Path) -> None:
    plan, tracker = searched(tmp_path, stop_after=1), Slow()
    publisher, _ = of(plan, tracker)
    (trial,) = read_study(plan.files).trials
    with publisher.in_background():
        publisher.started(replace(trial, state="running", epochs={}))
        assert tracker.asked.wait(20.0)
        publisher.ended(trial)
        tracker.let_go.set()
    publisher.settle()
    assert tracker.told == [(0, "running", 0), (0, trial.state, len(trial.epochs))]


def test_an_interruption_does_not_wait_for_a_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "_ENDING_SECONDS", 0.1)
    plan, tracker = searched(tmp_path, stop_after=1), Slow()
    publisher, _ = of(plan, tracker)

    def interrupted() -> None:
        with publisher.in_background():
            publisher.ended(read_study(plan.files).trials[0])
            assert tracker.asked.wait(20.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    publisher.end_parent("KILLED")
    assert (tracker.told, tracker.ended_as) == ([], "")
    tracker.let_go.set()
    monkeypatch.undo()
    publisher.end_parent("KILLED")
    assert tracker.ended_as == "KILLED"


def test_another_error_in_the_background_is_raised_by_who_tells(tmp_path: Path) -> None:
    plan = searched(tmp_path, stop_after=2)
    first, second = read_study(plan.files).trials
    told: list[int] = []

    def tell(*trials: TrialRecord) -> None:
        publisher, _ = of(plan, Broken())
        with publisher.in_background():
            writer = publisher._writer
            assert writer is not None
            for trial in trials:
                publisher.ended(trial)
                told.append(trial.number)
                writer.join(20.0)

    with pytest.raises(KeyError, match="a mistake of this project"):
        tell(first, second)
    with pytest.raises(KeyError, match="a mistake of this project"):
        tell(first)  # nothing was told after it
    assert told == [0, 0]


def tracker_of(plan: Plan) -> Tracker:
    path = plan.files.data / "prepared" / "small" / "manifest.json"
    manifest = Manifest.from_json(path.read_text(), path)
    return open_tracker(plan, manifest, None, read_environments(plan.files)[-1], None)


def statement(plan: Plan, text: str) -> None:
    with closing(sqlite3.connect(plan.files.out / "mlflow.db")) as database:
        database.execute(text)
        database.commit()


def found(plan: Plan) -> list[str]:
    runs = runs_seen(plan.files.mlflow_uri, plan.name)
    assert runs is not None
    return list(tracking_findings(read_study(plan.files), runs, running=False))


def test_a_database_that_fails_for_a_time_is_mended(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a search is played: a table is away, and a run is made whose making is not acknowledged."""
    plan = searched(tmp_path, stop_after=1)
    tracker = tracker_of(plan)
    publisher, said = of(plan, tracker)
    search = open_search(plan)
    search.observers = [publisher]
    play(search, curve, stop_after=1)
    assert found(plan) == ["MLflow: trial 0 (complete) has no run"]  # this publisher never heard of it
    statement(plan, "ALTER TABLE metrics RENAME TO away")
    play(search, curve, stop_after=2)
    statement(plan, "ALTER TABLE away RENAME TO metrics")
    clock[0] += 31
    unacknowledged(tracker, monkeypatch)
    play(search, curve, stop_after=1)
    monkeypatch.undo()
    play(search, curve)
    publisher.settle()
    assert publisher.errors >= 2
    assert "takes runs again" in said[-1]
    publisher.tell(read_study(plan.files).trials[0])
    assert found(plan) == []


def test_an_answer_that_mlflow_does_not_take_is_one_line_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as driver:
        driver._records_may_leave = False  # played finals leave no encoder
        finals = make_finals(driver)
        play_finals(monkeypatch, finals, trained)
        best = finals.slots[0].folder / BEST
        best.touch()

        def refuse(*_: Any, **more: Any) -> None:
            raise MlflowException("a text that may quote")

        with monkeypatch.context() as patch:
            patch.setattr(driver.tracker._client, "log_batch", refuse)
            with pytest.raises(MachineFailure, match=r"does not take the answer \(INTERNAL_ERROR\)") as told:
                driver._answer(finals)
            driver.publisher.reopen_parent()
        assert "quote" not in str(told.value)
        assert best.exists()
        answer = driver._answer(finals)
        assert read_answer(driver.plan.files.answer) == answer
        assert not best.exists()


def unacknowledged(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run is made, and the client hears of an error."""
    make: Callable[..., Any] = tracker._client.create_run

    def made(*given: Any, **more: Any) -> Any:
        make(*given, **more)
        raise MlflowException("the connection is gone")

    monkeypatch.setattr(tracker._client, "create_run", made)
