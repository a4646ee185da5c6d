"""Jobs of a study: an outcome is kept where it would come again, and counts while what it speaks of is there."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl_study.files import read_json, write_json
from sdl_study.references import load_object
from sdl_study.study import jobs as jobs_module
from sdl_study.study.jobs import RUN_JOB, JobMaker, Work, run_all
from sdl_study.study.records import Records
from sdl_study.training.scores import SCORES_FILE, save_scores
from sdl_study.workers.events import Done, Epoch, Event, Failed, Stopped
from sdl_study.workers.job import Kind
from tests.unit.study.fakes import open_search, small_plan, start

DONE = Done({"metrics": {"dev/map": 0.5}})


def work(tmp_path: Path, kind: Kind = "final") -> Work:
    plan = small_plan(tmp_path)
    return JobMaker(plan, plan.files.data).final("d" * 64, "sd", kind, "sd", {}, 0)


def with_scores(item: Work) -> Path:
    path = Path(item.job.folder) / SCORES_FILE
    save_scores(path, np.arange(3), np.full((3, 2), 0.5))
    return path


def played(monkeypatch: pytest.MonkeyPatch, *events: Event) -> None:
    """Leases that tell these events."""

    class Played:
        def __init__(self, job: object) -> None: ...
        def __enter__(self) -> tuple[Event, ...]:
            return events

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(jobs_module, "Lease", Played)


def test_what_the_workers_run_is_found_by_its_reference() -> None:
    parameters = list(inspect.signature(load_object(RUN_JOB)).parameters)
    assert parameters == ["job", "report", "channel", "device"]


def test_a_result_and_its_file_have_the_same_content(tmp_path: Path) -> None:
    item = work(tmp_path)
    with_scores(item)
    item.keep(Done({"objective": 0.5, "workers": 2}, attempts=2))
    assert read_json(item.result_path) == {
        "event": "done", "objective": 0.5, "workers": 2, "attempts": 2, "arm": "sd",
    }  # fmt: skip
    result = item.result()
    assert result is not None
    assert (result["objective"], result["workers"]) == (0.5, 2)


@pytest.mark.parametrize(
    ("event", "ended", "failure"),
    [
        (Failed("setting", "NonFiniteLoss at a.py:1"), True, "NonFiniteLoss at a.py:1"),
        (Failed("setting", "OutOfMemoryError at a.py:1"), True, "OutOfMemoryError at a.py:1"),
        (Failed("machine", "a node went away"), False, None),
        (Failed("bug", "OSError at a.py:1"), False, None),
        (Failed("bug", "NonFiniteLoss at a.py:1"), False, None),  # the kind decides, not the name
        (Stopped(), False, None),
    ],
)
def test_only_what_would_come_again_is_kept(
    event: Event, ended: bool, failure: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, told = work(tmp_path), []
    played(monkeypatch, Epoch(1, {}), event)
    left = run_all([item], 1, lambda _, what: told.append(what))
    assert told == [Epoch(1, {}), event]
    assert (item.ended, item.failure(), item.result()) == (ended, failure, None)
    assert left == ([] if ended else [item])


@pytest.mark.parametrize("kind", ["final", "control"])
@pytest.mark.parametrize("spoilt", ["missing", "empty", "cut", "zeros"])
def test_a_result_without_its_scores_is_none_and_the_job_runs_again(
    kind: Kind, spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut under an earlier version: the result lay beside a score file that had not reached the disk."""
    item = work(tmp_path, kind)
    path = with_scores(item)
    item.keep(DONE)
    assert item.ended
    whole = path.read_bytes()
    if spoilt == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-30], "zeros": bytes(len(whole))}[spoilt])
    assert (item.ended, item.result(), item.failure()) == (False, None, None)
    ran: list[Event] = []

    def told(again: Work, event: Event) -> None:
        ran.append(event)
        with_scores(again)

    played(monkeypatch, DONE)
    assert run_all([item], 1, told) == []
    assert (ran, item.ended) == ([DONE], True)


def test_scores_that_stand_in_predictions_are_not_made_again(tmp_path: Path) -> None:
    item = work(tmp_path)
    path = with_scores(item)
    item.keep(DONE)
    (path.parent / "predictions.parquet").write_bytes(b"scored")
    path.unlink()
    assert item.ended


def test_a_repeat_of_a_trial_leaves_no_scores_and_ends_without(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    item = JobMaker(plan, plan.files.data).selection(record, 0)
    item.keep(Done({"objective": 0.5}))
    assert item.ended


def test_a_kept_failure_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    item = work(tmp_path)
    write_json(item.result_path, {"event": "failed", "reason": "NonFiniteLoss at loop.py:1", "arm": "sd"})
    assert (item.ended, item.failure()) == (True, "NonFiniteLoss at loop.py:1")


@pytest.mark.parametrize(
    ("reason", "failure"),
    [("machine", "machine"), ("OSError at a.py:1", "setting"), ("NonFiniteLoss", "setting")],
)
def test_trials_of_an_earlier_version_have_a_reason_alone(reason: str, failure: str, tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    attributes: list[str] = []
    plain = search.records._storage.set_trial_user_attr

    def set_attribute(trial_id: int, key: str, value: Any) -> None:
        attributes.append(key)
        if key != "sdl.failure":
            plain(trial_id, key, value)

    search.records._storage.set_trial_user_attr = set_attribute
    search.records.fail(record.number, reason, "bug")
    assert "sdl.failure" in attributes
    again = Records(plan.files.journal, plan.name, plan.settings.arms, plan.settings.objective)
    assert (again.get(0).reason, again.get(0).failure) == (reason, failure)
    assert again.get(0).state == "failed"


@pytest.mark.parametrize("kind", ["setting", "machine", "bug"])
def test_the_kind_of_a_failure_is_kept_beside_its_reason(kind: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    assert record.failure is None
    assert not search.heard(record.number, Failed(kind, "machine"))  # an exception that is called like that
    kept = open_search(plan).records.get(record.number)
    assert (kept.state, kept.reason, kept.failure) == ("failed", "machine", kind)
    assert open_search(plan).lost == 0  # of this command
    assert search.lost == (kind == "machine")
