"""Jobs of a study: an outcome is kept where it would come again, and counts while what it speaks of is there."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.record.declaration import Declaration, Winner
from sdl_study.record.finals import Role, final_slots
from sdl_study.record.outcome import RESULT_FILE, Failure, Outcome, Repeat, Result
from sdl_study.references import load_object
from sdl_study.study.jobs import RUN_JOB, JobMaker, Work, run_all
from sdl_study.workers.events import Done, Epoch, Event, Failed, Stopped
from tests.unit.study.fakes import open_search, small_plan, start

RESULT = Result({"dev/map": 0.5}, examples_seen=9, best_epoch=1, seconds=1.0, workers=2, device="cpu")
DONE = Done(vars(RESULT))


def work(tmp_path: Path, role: Role = "final") -> Work:
    plan = small_plan(tmp_path)
    declaration = Declaration(
        "small", (Winner("sd", 0, {}, 0.5),), "sd", "sd", ("sd",), None, "test/map", "probe", ("untrained",), 0, 1, 0,
        1, 1, "f", "1",
    )  # fmt: skip
    (slot,) = (slot for slot in final_slots(plan.files, declaration) if slot.role == role)
    return JobMaker(plan, plan.files.data).final(slot)


def with_scores(item: Work) -> Path:
    path = item.folder / SCORES_FILE
    save_scores(path, np.arange(3), np.full((3, 2), 0.5))
    return path


def played(*events: Event) -> Any:
    """An engine whose leases tell these events."""
    return SimpleNamespace(groups=1, wants=lambda _: None, lease=lambda job: nullcontext(events))


def test_what_the_workers_run_is_found_by_its_reference() -> None:
    parameters = list(inspect.signature(load_object(RUN_JOB)).parameters)
    assert parameters == ["job", "report", "channel", "device"]


def test_a_result_is_read_as_it_was_kept(tmp_path: Path) -> None:
    item = work(tmp_path)
    assert item.outcome is None
    with_scores(item)
    item.keep(Done(vars(RESULT), attempts=2))
    assert item.outcome == RESULT


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Failed("setting", "NonFiniteLoss at a.py:1"), Failure("NonFiniteLoss at a.py:1")),
        (Failed("setting", "OutOfMemoryError at a.py:1"), Failure("OutOfMemoryError at a.py:1")),
        (Failed("machine", "a node went away"), None),
        (Failed("bug", "OSError at a.py:1"), None),
        (Failed("bug", "NonFiniteLoss at a.py:1"), None),  # the kind decides, not the name
        (Stopped(), None),
    ],
)
def test_only_what_would_come_again_is_kept(event: Event, outcome: Outcome | None, tmp_path: Path) -> None:
    item, told = work(tmp_path), []
    left = run_all([item], played(Epoch(1, {}), event), lambda _, what: told.append(what))
    assert told == [Epoch(1, {}), event]
    assert item.outcome == outcome
    assert left == ([item] if outcome is None else [])


@pytest.mark.parametrize("role", ["final", "control"])
@pytest.mark.parametrize("spoilt", ["missing", "empty", "cut", "zeros"])
def test_a_result_without_its_scores_is_none_and_the_job_runs_again(
    role: Role, spoilt: str, tmp_path: Path
) -> None:
    """A power cut under an earlier version: the result lay beside a score file that had not reached the disk."""
    item = work(tmp_path, role)
    path = with_scores(item)
    item.keep(DONE)
    assert item.outcome == RESULT
    whole = path.read_bytes()
    if spoilt == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-30], "zeros": bytes(len(whole))}[spoilt])
    assert item.outcome is None
    ran: list[Event] = []

    def told(again: Work, event: Event) -> None:
        ran.append(event)
        with_scores(again)

    assert run_all([item], played(DONE), told) == []
    assert (ran, item.outcome) == ([DONE], RESULT)


def test_scores_that_stand_in_predictions_are_not_made_again(tmp_path: Path) -> None:
    item = work(tmp_path)
    path = with_scores(item)
    item.keep(DONE)
    (path.parent / "predictions.parquet").write_bytes(b"scored")
    path.unlink()
    assert item.outcome == RESULT


def test_a_repeat_of_a_trial_leaves_no_scores_and_ends_without(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    item = JobMaker(plan, plan.files.data).repeat(record, 0)
    item.keep(Done({"objective": 0.5, "epochs": [0.4, 0.5]}))
    assert item.outcome == Repeat(0.5, [0.4, 0.5])


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"kind": "done"}', '{"kind": "repeat"}', "{"])
def test_a_damaged_outcome_is_one_line(text: str, tmp_path: Path) -> None:
    item = work(tmp_path)
    item.folder.mkdir(parents=True)
    (item.folder / RESULT_FILE).write_text(text)
    with pytest.raises(UserError, match=r"result\.json: damaged") as told:
        _ = item.outcome
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["setting", "machine", "bug"])
def test_the_kind_of_a_failure_is_kept_beside_its_reason(kind: Any, tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    assert record.failure is None
    assert not search.heard(record.number, Failed(kind, "machine"))  # an exception that is called like that
    kept = open_search(plan).journal.get(record.number)
    assert (kept.state, kept.reason, kept.failure) == ("failed", "machine", kind)
    assert open_search(plan).lost == 0  # of this command
    assert search.lost == (kind == "machine")
