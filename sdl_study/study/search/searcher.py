"""The search: which trial next, what its epochs say, and when there is nothing left to ask; all on the journal."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sdl_study.budget import BudgetSettings, Limit, Spent
from sdl_study.record.journal import DriverJournal
from sdl_study.record.trials import FailureKind, TrialRecord
from sdl_study.study.search.scheduler import goes_on
from sdl_study.workers.events import Epoch, Event, Failed

_WANT_SECONDS = 5.0
_NOTE_SECONDS = 10.0  # a driver that is killed forgets no more of the time than this, or an epoch


class Observer(Protocol):
    """Who is told what happens to the trials: MLflow, the progress lines."""

    def started(self, record: TrialRecord) -> None: ...
    def epoch(self, record: TrialRecord, epoch: int) -> None: ...
    def ended(self, record: TrialRecord) -> None: ...


@dataclass
class Search:
    """The state that Ray Tune's searcher and scheduler share (``tuning``).

    Attributes:
        journal: the study's trials.
        ask: asks the next trial of an arm, in one of its searches.
        job: a trial's job.
        trials: of each search.
        budget: what may end the search before; None: nothing.
        gpus: that a trial claims.
        clock: tells seconds.
        rungs: epochs at which a trial may be stopped.
        reduction_factor: of ASHA.
        concurrent: how many trials at a time: as there are groups, whose number may change.
        broker: name of the engine's broker, from which a trial leases its group.
        release: gives a job's group back, by the job's key: a trial that is over may have had its process die before
            that gave it back.
        wants: is told how many trials more would run at the same time, were there groups for them.
        epochs: last epoch of a trial whose length is not searched.
        lost: trials that the machine ended, in this command.
        counts: trials of every search; those that the machine ended do not count.
        gpu_seconds: of the trials that have ended.
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
    budget: BudgetSettings | None = None
    gpus: float = 0.0
    clock: Callable[[], float] = time.monotonic
    began: float | None = None
    noted: float = -math.inf
    seconds_before: float = 0.0
    broker: str = ""
    release: Callable[[str], None] = lambda _: None
    wants: Callable[[int], None] = lambda _: None
    wanted_at: float = -math.inf
    live: dict[str, int] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    interrupted: list[int] = field(default_factory=list)
    lost: int = 0
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    gpu_seconds: float = 0.0
    starts: Counter[int] = field(default_factory=Counter)
    before: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.seconds_before = self.journal.seconds
        self.counts = dict.fromkeys(self.journal.searches, 0)
        for record in self.journal.all():
            self.counts[record.arm, record.search] += record.failure != "machine"
            self.gpu_seconds += record.gpus * record.seconds * (record.state != "running")
            if record.state == "running":
                self.interrupted.append(record.number)

    def next_trial(self, trial_id: str) -> dict[str, Any] | None:
        """The job of the next trial, interrupted ones first; None when there is none to start now."""
        if self.began is None:
            self.began = self.clock()
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
        if search is None:
            return None
        record = self.ask(*search)
        self.counts[search] += 1
        return self._start(trial_id, record, resumed=False)

    def _want_more(self) -> None:
        """Say now and then how many trials would run, were there groups for them."""
        if time.monotonic() - self.wanted_at < _WANT_SECONDS:
            return
        self.wanted_at = time.monotonic()
        left = sum(max(0, self.trials - count) for count in self.counts.values())
        self.wants(len(self.interrupted) + (0 if self.gave_up or self.ended_by is not None else left))

    def _start(self, trial_id: str, record: TrialRecord, resumed: bool) -> dict[str, Any]:
        self.live[trial_id] = record.number
        self.starts[record.number] += 1
        self.before[record.number] = record.attempts - 1
        if self.gpus:
            self.journal.note_gpus(record.number, self.gpus)
        for observer in self.observers:
            observer.started(record)
        job = self.job(record, resumed)
        self.keys[record.number] = job["key"]
        return {"job": job, "broker": self.broker}

    def _search_in_turn(self) -> tuple[str, int] | None:
        """The arm and its search with the fewest trials, in the journal's order; None at the budget's end."""
        if self.gave_up or self.ended_by is not None:
            return None
        search = min(self.counts, key=lambda place: self.counts[place])
        return search if self.counts[search] < self.trials else None

    @property
    def spent(self) -> Spent:
        """What the searches have had so far."""
        begun = [self.journal.get(number) for number in (*self.live.values(), *self.interrupted)]
        running = sum(record.gpus * record.seconds for record in begun if record.state == "running")
        return Spent(min(self.counts.values()), self._seconds(), self.gpu_seconds + running)

    @property
    def ended_by(self) -> Limit | None:
        """Which limit of time is reached, or that every search has its trials; None while there is none."""
        return None if self.budget is None else self.budget.ended_by(self.spent)

    def _seconds(self) -> float:
        return self.seconds_before + (0.0 if self.began is None else self.clock() - self.began)

    def note_seconds(self, at_least: float = 0.0) -> None:
        """Write into the journal how long the search has run, unless that was done a moment ago."""
        seconds = self._seconds()
        if seconds - self.noted >= at_least:
            self.noted = seconds
            self.journal.note_seconds(seconds)

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
                self._fail(number, event.reason, event.kind)
                return False
        return True

    def _heard_epoch(self, number: int, event: Epoch) -> bool:
        record = self.journal.report(number, event.epoch, event.metrics)
        self.note_seconds(_NOTE_SECONDS)
        for observer in self.observers:
            observer.epoch(record, event.epoch)
        others = self.journal.of_search(record.arm, record.search) if event.epoch in self.rungs else []
        if goes_on(record, event.epoch, others, self.rungs, self.reduction_factor):
            return True
        self.journal.prune(number)
        self._tell_ended(number)
        return False

    def _fail(self, number: int, reason: str, kind: FailureKind) -> None:
        """A trial has failed; one that the machine ended does not count, and another is asked for it."""
        record = self.journal.get(number)
        if record.state == "running" and kind == "machine":
            self.counts[record.arm, record.search] -= 1
            self.lost += 1
        self.journal.fail(number, reason, kind)
        self._tell_ended(number)

    def _tell_ended(self, number: int) -> None:
        self.note_seconds(_NOTE_SECONDS)
        record = self.journal.get(number)
        self.gpu_seconds += record.gpus * record.seconds
        for observer in self.observers:
            observer.ended(record)

    def ended(self, trial_id: str, error: bool) -> None:
        """A Tune trial is over. Without its last epoch, and not told already, it stays RUNNING and is queued again."""
        number = self.live.pop(trial_id)
        if self.journal.get(number).state == "running":
            self._conclude(number, error)
        if number not in self.interrupted and not self.aborted():
            self.release(self.keys[number])

    def _conclude(self, number: int, error: bool) -> None:
        record = self.journal.get(number)
        if not error and record.length(self.epochs) in record.epochs:
            self.journal.complete(number)
            self._tell_ended(number)
        elif self.aborted():
            return
        elif self.starts[number] >= self.max_attempts:
            self._fail(number, "machine", "machine")
        else:
            self.interrupted.append(number)
