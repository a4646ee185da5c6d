"""What a worker group ran before does not show; a dead worker, or one rank that raises, costs no trial."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.data.prepared import PreparedData
from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Failure, Result
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import JobMaker, Work, run_all
from sdl_study.study.plan import Plan
from sdl_study.study.search import searcher, tuning
from sdl_study.training.checkpoint import BEST
from sdl_study.workers.events import Epoch, Event, Failed
from tests.integration.conftest import Engines
from tests.integration.stopped_trials import run_trial_that_dies_when_stopped
from tests.integration.tiny import tiny_plan

CONV = {"model.encoder": "conv", "train.learning_rate": 5e-3, "loss.temperature": 0.07}
BERT = {**CONV, "model.encoder": "bert", "model.encoders.bert.dropout": 0.3}


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    return tiny_plan(out, {"train.record_batches": True}, "groups")


def work_of(plan: Plan, name: str, parameters: dict[str, Any]) -> Work:
    maker = JobMaker(plan, Path(str(plan.settings.data.path)))
    folder = plan.files.folder / "finals" / name
    return maker.final(FinalSlot(name, "final", 0, "sd", parameters, folder, f"groups/final/{name}/0"))


class Events:
    """What was told of some jobs."""

    def __init__(self) -> None:
        self.of: dict[str, list[Event]] = {}

    def __call__(self, work: Work, event: Event) -> None:
        self.of.setdefault(work.job.key, []).append(event)

    def epochs(self, work: Work) -> dict[int, dict[str, float]]:
        """Metrics of every epoch that was told, without the seconds."""
        return {
            event.epoch: {key: value for key, value in event.metrics.items() if key != "seconds"}
            for event in self.of[work.job.key]
            if isinstance(event, Epoch)
        }


def numbers(work: Work) -> dict[str, Any]:
    result = work.outcome
    assert isinstance(result, Result)
    return {key: getattr(result, key) for key in ("metrics", "examples_seen", "best_epoch")}


def weights(work: Work) -> dict[str, torch.Tensor]:
    return torch.load(Path(work.job.folder) / BEST, weights_only=True)["model"]


@pytest.mark.slow  # test_chaos kills one too
def test_a_killed_worker_costs_no_trial(plan: Plan, engines: Engines) -> None:
    engine = engines.get()
    whole = work_of(plan, "whole", {**CONV, "train.learning_rate": 4e-3})
    events = Events()
    run_all([whole], engine, events)
    killed = work_of(plan, "killed", {**CONV, "train.learning_rate": 4e-3})

    def told(work: Work, event: Event) -> None:
        events(work, event)
        if isinstance(event, Epoch) and (event.epoch, event.attempts) == (2, 1):
            line = (Path(killed.job.folder) / "batches-1.jsonl").read_text().splitlines()[-1]
            os.kill(json.loads(line)["pid"], signal.SIGKILL)

    run_all([killed], engine, told)
    seen = [event.epoch for event in events.of[killed.job.key] if isinstance(event, Epoch)]
    assert seen[:2] == [1, 2]
    assert sorted(set(seen)) == [1, 2, 3, 4]
    assert len(seen) <= 5  # the last epoch before the death may be told twice
    assert events.of[killed.job.key][-1].attempts == 2
    assert numbers(killed) == numbers(whole)
    assert events.epochs(killed) == events.epochs(whole)


def test_a_diverged_trial_fails_and_its_group_goes_on(plan: Plan, engines: Engines) -> None:
    engine = engines.get()
    diverged = work_of(plan, "diverged", {**CONV, "train.learning_rate": 1e30})
    next_one = work_of(plan, "next", CONV)
    events = Events()
    run_all([diverged, next_one], engine, events)
    failed = events.of[diverged.job.key][-1]
    assert isinstance(failed, Failed)
    assert failed.kind == "setting"
    assert failed.where.startswith("NonFiniteLoss at sdl_study/training/gradients.py")
    assert isinstance(diverged.outcome, Failure)
    assert isinstance(next_one.outcome, Result)


@pytest.mark.slow
def test_a_trial_does_not_see_what_its_group_ran_before(plan: Plan, engines: Engines) -> None:
    engine = engines.get()
    before, after = work_of(plan, "bert-before", BERT), work_of(plan, "after", CONV)
    raising = work_of(plan, "raising", BERT)
    # A folder where a file should be.
    (Path(raising.job.folder) / "batches-0.jsonl").mkdir(parents=True)
    events = Events()
    assert run_all([before, raising, after], engine, events) == [raising]
    failed = events.of[raising.job.key][-1]
    assert isinstance(failed, Failed)
    assert failed.kind == "bug"
    assert failed.where.startswith("IsADirectoryError at ")
    assert "sdl_study/training/" in failed.where

    engine = engines.get(1)
    alone = work_of(plan, "alone", CONV)
    run_all([alone], engine, events)
    assert numbers(alone) == numbers(after)
    assert events.epochs(alone) == events.epochs(after)
    ours, theirs = weights(alone), weights(after)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.timeout(180)
def test_a_trial_that_dies_as_it_is_stopped_gives_its_group_back(
    out: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the driver knows then that its group shall go on."""
    monkeypatch.setattr(tuning, "run_trial", run_trial_that_dies_when_stopped)
    monkeypatch.setattr(searcher, "goes_on", lambda record, *_: record.number > 0)
    stopped = tiny_plan(out, {"arms": ("sd",), "budget.trials": 2, "train.epochs": 2}, "stopped")
    data = PreparedData.load(str(stopped.settings.data.path))
    with Driver(stopped, data, None) as driver:
        driver._search(lambda: driver._prepared(engines.get))
        assert [record.state for record in driver.journal.all()] == ["pruned", "complete"]
