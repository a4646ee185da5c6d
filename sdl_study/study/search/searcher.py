"""The search: a Ray Searcher over Optuna's ask and tell, and ASHA as a Ray scheduler, both on the records.

Ray's own OptunaSearch tells stopped trials COMPLETE, loses NaNs, and dies when the database is ahead of Ray's
snapshot; here the journal is the only truth and Ray's own state is thrown away.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sdl_study.record.journal import DriverJournal
from sdl_study.record.trials import TrialRecord
from sdl_study.study.search.scheduler import goes_on
from sdl_study.trial import reported, run_trial
from sdl_study.workers.events import Epoch, Event, Failed

_NO_CPU = {"memory": 1.0}  # one byte: Tune refuses a request of nothing, and the CPUs belong to the workers

_WANT_SECONDS = 5.0
_NODE_ID = "ray.io/node-id"  # a label that Ray gives every machine


class Observer(Protocol):
    """Who is told what happens to the trials: MLflow, the progress lines."""

    def started(self, record: TrialRecord) -> None: ...
    def epoch(self, record: TrialRecord, epoch: int) -> None: ...
    def ended(self, record: TrialRecord) -> None: ...


@dataclass
class Search:
    """The state that searcher and scheduler share while Tune runs.

    Attributes:
        journal: the study's trials.
        ask: asks the next trial of an arm, in one of its searches.
        job: a trial's job.
        trials: budget of each search.
        rungs: epochs at which a trial may be stopped.
        reduction_factor: of ASHA.
        concurrent: how many trials at a time: as there are groups, whose number may change.
        broker: name of the engine's broker, from which a trial leases its group.
        wants: is told how many trials more would run at the same time, were there groups for them.
        epochs: last epoch of a trial whose length is not searched.
        max_attempts: of this command, after which a trial that the machine keeps ending is given up.
        observers: who is told, in this order.
        aborted: whether no worker group can run any more; what has not ended then stays RUNNING for the next command.
        show: prints what is to be shown of a failure beside its line.
    """

    journal: DriverJournal
    ask: Callable[[str, int], TrialRecord]
    job: Callable[[TrialRecord, bool], dict[str, Any]]
    trials: int
    rungs: tuple[int, ...]
    reduction_factor: int
    concurrent: Callable[[], int]
    epochs: int
    max_attempts: int
    observers: Sequence[Observer]
    aborted: Callable[[], bool] = lambda: False
    show: Callable[[str], None] = lambda _: None
    broker: str = ""
    wants: Callable[[int], None] = lambda _: None
    wanted_at: float = -math.inf
    live: dict[str, int] = field(default_factory=dict)
    interrupted: list[int] = field(default_factory=list)
    lost_before: int = 0
    starts: Counter[int] = field(default_factory=Counter)
    before: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lost_before = self.lost
        self.interrupted = [record.number for record in self.journal.all() if record.state == "running"]

    def next_trial(self, trial_id: str) -> dict[str, Any] | None:
        """The job of the next trial, interrupted ones first; None when there is none to start now."""
        if self.aborted():
            return None
        if len(self.live) >= self.concurrent():
            self._want_more()
            return None
        if self.interrupted:
            number = self.interrupted.pop(0)
            self.journal.attempt(number, self.journal.get(number).attempts + 1)
            record = self.journal.get(number)
            return self._start(trial_id, record, resumed=True)
        search = self._search_in_turn()
        return None if search is None else self._start(trial_id, self.ask(*search), resumed=False)

    def _want_more(self) -> None:
        """Say now and then how many trials would run, were there groups for them."""
        if time.monotonic() - self.wanted_at < _WANT_SECONDS:
            return
        self.wanted_at = time.monotonic()
        left = sum(max(0, self.trials - count) for count in self._counts().values())
        self.wants(len(self.interrupted) + (0 if self.gave_up else left))

    def _counts(self) -> dict[tuple[str, int], int]:
        """Trials of every search; those that the machine ended do not count."""
        counts = dict.fromkeys(self.journal.searches, 0)
        for record in self.journal.all():
            counts[record.arm, record.search] += record.failure != "machine"
        return counts

    def _start(self, trial_id: str, record: TrialRecord, resumed: bool) -> dict[str, Any]:
        self.live[trial_id] = record.number
        self.starts[record.number] += 1
        self.before[record.number] = record.attempts - 1
        for observer in self.observers:
            observer.started(record)
        return {"job": self.job(record, resumed), "broker": self.broker}

    def _search_in_turn(self) -> tuple[str, int] | None:
        """The arm and its search with the fewest trials, in the journal's order."""
        if self.gave_up:
            return None
        counts = self._counts()
        search = min(counts, key=lambda place: counts[place])
        return search if counts[search] < self.trials else None

    @property
    def lost(self) -> int:
        """Trials that the machine ended."""
        return sum(record.failure == "machine" for record in self.journal.all()) - self.lost_before

    @property
    def gave_up(self) -> bool:
        """A machine that ends as many trials as a search has is not given more by this command."""
        return self.lost >= max(self.max_attempts, self.trials)

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing is left to ask."""
        if self.live:
            return False
        return self.aborted() or (not self.interrupted and self._search_in_turn() is None)

    def heard(self, number: int, event: Event) -> bool:
        """Take what a trial reported; returns whether it goes on."""
        self.journal.attempt(number, self.before[number] + event.attempts)
        match event:
            case Epoch():
                return self._heard_epoch(number, event)
            case Failed():
                if self.aborted() and event.kind == "machine":
                    return False
                self.show(event.shown)
                self.journal.fail(number, event.reason, event.kind)
                self._tell_ended(number)
                return False
        return True

    def _heard_epoch(self, number: int, event: Epoch) -> bool:
        record = self.journal.report(number, event.epoch, event.metrics)
        for observer in self.observers:
            observer.epoch(record, event.epoch)
        others = self.journal.of_search(record.arm, record.search)
        if goes_on(record, event.epoch, others, self.rungs, self.reduction_factor):
            return True
        self.journal.prune(number)
        self._tell_ended(number)
        return False

    def _tell_ended(self, number: int) -> None:
        record = self.journal.get(number)
        for observer in self.observers:
            observer.ended(record)

    def ended(self, trial_id: str, error: bool) -> None:
        """A Tune trial is over. Without its last epoch, and not told already, it stays RUNNING and is queued again."""
        number = self.live.pop(trial_id)
        record = self.journal.get(number)
        if record.state != "running":
            return
        if not error and record.length(self.epochs) in record.epochs:
            self.journal.complete(number)
            self._tell_ended(number)
        elif self.aborted():
            return
        elif self.starts[number] >= self.max_attempts:
            self.journal.fail(number, "machine", "machine")
            self._tell_ended(number)
        else:
            self.interrupted.append(number)


def run_search(search: Search, folder: Path, name: str) -> None:
    """Run Ray Tune until the search is finished; Tune's own state lies in ``folder`` and is not read again.

    Its functions run on the driver's machine: a worker's may go away at any time.
    """
    here = {_NODE_ID: ray.get_runtime_context().get_node_id()}
    tuner = tune.Tuner(
        tune.with_resources(run_trial, tune.PlacementGroupFactory([_NO_CPU], bundle_label_selector=[here])),
        tune_config=tune.TuneConfig(
            search_alg=ArmSearcher(search), scheduler=AshaScheduler(search), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=f"{name}-{os.getpid()}-{time.time_ns()}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()


class _LivesInDriver:
    """Tune pickles searcher and scheduler into its snapshots; these live in the driver and are rebuilt there."""

    _search: Search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _LivesInDriver:
        return self


class ArmSearcher(_LivesInDriver, Searcher):
    """Ray's side of the search: which trial next, and what became of it."""

    def __init__(self, search: Search) -> None:
        super().__init__(metric="number", mode="max")  # in every result: Tune insists on one
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial's configuration, None to wait, or FINISHED."""
        if self._search.finished:
            return Searcher.FINISHED
        return self._search.next_trial(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """A Tune trial is over."""
        self._search.ended(trial_id, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing of the search lives in Ray's snapshots; the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal has it."""


class AshaScheduler(_LivesInDriver, FIFOScheduler):
    """Ray's side of ASHA: every report goes to the search, which answers from the journal."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Write the epoch, and stop the trial where it is not among the best of its rung."""
        goes_on = self._search.heard(int(result["number"]), reported(result))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
