"""The places of worker groups: a thread each runs group after group in it; they come and go with the machines."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError

from sdl_study.workers.broker import Left, Member
from sdl_study.workers.group import JobRaised
from sdl_study.workers.network import GroupUnreachable
from sdl_study.workers.places import Places
from sdl_study.workers.waiting import LIMIT, Patience, Say, clock, limit_seconds, pending, place_for

_NOTICED_SECONDS = 2.0


class Group(Protocol):
    """A worker group that can be run, as Ray Train's trainer."""

    def fit(self) -> object: ...


@dataclass
class Ending:
    """Why no group can run any more.

    Attributes:
        reason: in words.
        machine: whether what the groups run on is gone or full; the same command goes on once it is back.
    """

    reason: str
    machine: bool = False


class Slots:
    """The slots of an engine.

    Args:
        broker: the actor.
        make: a worker group with a number, for some places.
        max_attempts: how many groups may die with a job.
        say: prints a line.
        threads: gets the threads that ask the broker.
        over: set once the engine closes.
        ended: called once, when no slot can run a group any more.
    """

    def __init__(
        self,
        broker: Any,
        make: Callable[[Places, int], Group],
        max_attempts: int,
        say: Say,
        threads: list[threading.Thread],
        over: threading.Event,
        ended: Callable[[Ending], None],
    ) -> None:
        self._broker, self._make, self._max_attempts = broker, make, max_attempts
        self._say, self._over, self._ended = say, over, ended
        self._lock = threading.Lock()
        self._numbers, self._slots = itertools.count(), itertools.count()
        self._target = self._closed = 0
        self._absent: float | None = None
        self._live: set[int] = set()
        self._waiting: set[int] = set()
        self._dead = threading.Event()
        self._threads = threads

    @property
    def groups(self) -> int:
        """Groups that have a place; at least one, which may have to wait for it."""
        with self._lock:
            return max(1, len(self._live) - len(self._waiting))

    def fit(self, places: Places, wanted: int = 0) -> None:
        """Have as many slots as places: start what is missing; what is too much ends when its group does.

        Args:
            places: that the machines have.
            wanted: groups that would have work beside them; a cluster that can add machines adds them for these, at
                most as many as there are at a time.
        """
        with self._lock:
            self._places = places
            self._target = max(1, places.groups + min(wanted, places.groups))
            self._absent = None if places.groups else self._absent or time.monotonic()
            missing = range(self._target - self._closed - len(self._live))
            started = [next(self._slots) for _ in missing]
            self._live.update(started)
        for slot in started:
            thread = threading.Thread(target=self._serve, args=(slot,), name=f"group-{slot}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, slot: int) -> None:
        """Run groups until the engine closes or the slot does; without the broker no job can run."""
        try:
            self._serve_groups(slot)
        except Exception as error:  # noqa: BLE001 (a thread has nobody to raise to)
            self._end(Ending(f"the broker of the worker groups went away ({type(error).__name__})"))
        finally:
            with self._lock:
                self._live.discard(slot)
                self._waiting.discard(slot)

    def _serve_groups(self, slot: int) -> None:
        deaths = 0
        while self._has_place(slot):
            group = next(self._numbers)
            error = self._run(group)
            if error is None:
                deaths = 0
                continue
            lost = () if self._stops() else lost_of(ray.get(self._broker.members.remote(group)))
            left: Left = ray.get(self._broker.left.remote(group, not lost))
            if self._stops() or self._halted():
                return
            reason = reason_of(error, left.members, lost)
            if left.key is not None or not left.steps:
                self._say(f"worker group {slot} ended: {reason}{_goes_on(left)}")
            deaths = 0 if left.steps or lost or had_no_place(error) else deaths + 1
            if deaths > self._max_attempts + 1:  # first a job that kills its group is given up
                self._give_up(slot, f"a worker group died {deaths} times without any progress ({reason})")
                return

    def _run(self, group: int) -> Exception | None:
        """Run one group to its end; returns what it ended by, where that was no end in order."""
        try:
            self._make(self._places, group).fit()
        except Exception as error:  # noqa: BLE001 (a group may end by anything; its job goes on)
            return error
        return None

    def _has_place(self, slot: int) -> bool:
        """Wait for the machines that a group needs; False where the slot is one too many, or the engine closes."""
        places, patience = self._places, Patience(self._say)
        changed = False

        def ends() -> bool:
            nonlocal changed
            changed = self._places.strategy != places.strategy
            return changed or self._stops() or self._surplus(slot)

        def meanwhile() -> None:
            if self._may_have_place():
                patience.tell(f"worker group {slot} waits for {places.need}{pending()}")
            absent = self._absent  # a cluster that is busy with others is waited for as long as it takes
            if absent is not None and time.monotonic() - absent > limit_seconds():
                words = f"there was no machine for a worker group for {clock(time.monotonic() - absent)}"
                self._end(Ending(f"{words}: it needs {places.need}; wait longer with {LIMIT}", machine=True))

        self._waiting.add(slot)
        found = not self._stops() and place_for(places, ends, meanwhile)
        self._waiting.discard(slot)
        return self._has_place(slot) if changed else found

    def _stops(self) -> bool:
        return self._over.is_set() or self._dead.is_set()

    def _may_have_place(self) -> bool:
        """Whether a slot that waits is none of those that only want a machine more."""
        with self._lock:
            return len(self._live) + self._closed <= max(1, self._places.groups)

    def _surplus(self, slot: int) -> bool:
        """Take a slot away where there are more than the machines have places for."""
        with self._lock:
            if len(self._live) + self._closed <= self._target or len(self._live) == 1:
                return False
            self._live.discard(slot)
        return True

    def _halted(self) -> bool:
        reason: str | None = ray.get(self._broker.halted.remote())
        if reason is not None:
            self._end(Ending(reason, machine=True))
        return reason is not None

    def _give_up(self, slot: int, reason: str) -> None:
        with self._lock:
            self._live.discard(slot)
            self._closed += 1
            left = len(self._live)
        if left:
            self._say(f"worker group {slot} is closed: {reason}; {left} go on")
        else:
            self._end(Ending(reason))

    def _end(self, ending: Ending) -> None:
        with self._lock:
            first = not self._stops()
            self._dead.set()
        if first:
            self._ended(ending)


def lost_of(members: Sequence[Member]) -> Sequence[Member]:
    """Those ranks of a group whose machine went away; it may take a moment until Ray knows."""
    here = ray.get_runtime_context().get_node_id()
    deadline = time.monotonic() + (_NOTICED_SECONDS if any(one.node != here for one in members) else 0.0)
    while True:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        lost = [member for member in members if member.node not in alive]
        if lost or time.monotonic() >= deadline:
            return lost
        time.sleep(0.2)


def had_no_place(error: Exception) -> bool:
    """Whether a group ended because somebody else took the place that it was to have."""
    return isinstance(error, ControllerError) and isinstance(
        error.controller_failure, WorkerGroupStartupTimeoutError
    )


def reason_of(error: Exception, members: Sequence[Member], lost: Sequence[Member]) -> str:
    """What a group ended by, in words of our own: a foreign exception's text may hold a patient's."""
    if lost:
        return f"the machine {lost[0].address} went away"
    if isinstance(error, ControllerError):
        return _not_up(error.controller_failure)
    if not isinstance(error, WorkerGroupError) or not error.worker_failures:
        return type(error).__name__
    where = {member.rank: f" on {member.address}" for member in members}
    rank, failure = min(error.worker_failures.items(), key=lambda one: (_follows(one[1]), one[0]))
    if isinstance(failure, JobRaised):
        return f"rank {rank}{where.get(rank, '')} raised {failure}"
    gone = isinstance(failure, RayActorError | WorkerHealthCheckFailedError)
    went = "went away" if gone else f"ended by {type(failure).__name__}"
    return f"rank {rank}{where.get(rank, '')} {went}"


def _not_up(failure: BaseException) -> str:
    cause = getattr(failure, "cause", None) or failure
    if isinstance(cause, GroupUnreachable):
        return str(cause)
    if isinstance(cause, WorkerGroupStartupTimeoutError):
        return "its machines were taken by others"
    return f"its ranks did not come up ({type(cause).__name__})"


def _follows(failure: BaseException) -> bool:
    """Whether a rank ended because another one did."""
    return isinstance(failure, JobRaised) and failure.follows


def _goes_on(left: Left) -> str:
    return "" if left.key is None else f"; {left.key} goes on in the next one"
