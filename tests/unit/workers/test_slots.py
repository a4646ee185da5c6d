"""The slots of an engine, with Ray's part played: deaths, lost machines, machines that come and go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from sdl_study.workers import slots as slots_module
from sdl_study.workers.broker import Left, Member
from sdl_study.workers.group import JobRaised
from sdl_study.workers.network import GroupUnreachable
from sdl_study.workers.places import Places
from sdl_study.workers.slots import Ending, Slots, reason_of

PLACES = Places("CPU", 1, 1, "STRICT_PACK")
NOTHING = Left(0, None, ())
HERE, THERE = Member(0, "here", "10.0.0.1"), Member(1, "there", "10.0.0.2")
KILLED = WorkerGroupError("text", {1: RayActorError()})


class World:
    """A broker, machines and groups: what groups end by, in turn; then they run until the engine closes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = threading.Event()
        self.ends: deque[Exception] = deque()
        self.left: deque[Left] = deque()
        self.counted: list[bool] = []
        self.said: list[str] = []
        self.endings: list[Ending] = []
        self.members: Sequence[Member] = ()
        self.lost: Sequence[Member] = ()
        self.free, self.up = 99, 0
        self.reason: str | None = None
        self.broken = False
        broker: Any = SimpleNamespace(
            members=SimpleNamespace(remote=lambda group: self.members),
            left=SimpleNamespace(remote=self._left),
            halted=SimpleNamespace(remote=lambda: self.reason),
        )
        monkeypatch.setattr(slots_module.ray, "get", lambda value: value)
        monkeypatch.setattr(slots_module, "lost_of", lambda members: self.lost)
        monkeypatch.setattr(slots_module, "place_for", self._place_for)
        monkeypatch.setattr(slots_module, "pending", lambda: "")
        self.threads: list[threading.Thread] = []
        self.slots = Slots(
            broker, self._make, 3, self.said.append, self.threads, self.over, self.endings.append
        )

    def _left(self, group: int, counts: bool) -> Left:
        if self.broken:
            raise ActorDiedError
        self.counted.append(counts)
        return self.left.popleft() if self.left else NOTHING

    def _make(self, places: Places, group: int) -> Any:
        return SimpleNamespace(fit=self._fit)

    def _fit(self) -> None:
        if self.ends:
            raise self.ends.popleft()
        self.up += 1
        self.over.wait(20.0)

    def _place_for(self, places: Places, ends: Callable[[], bool], meanwhile: Callable[[], None]) -> bool:
        while self.free <= 0:
            if ends():
                return False
            meanwhile()
            time.sleep(0.01)
        self.free -= 1
        return True

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10.0
        while not happened():
            assert time.monotonic() < deadline, (self.said, self.endings)
            time.sleep(0.01)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    yield made
    made.over.set()
    for thread in made.threads:
        thread.join(5.0)
        assert not thread.is_alive()


def test_groups_that_die_without_progress_end_the_last_slot(world: World) -> None:
    world.ends.extend([KILLED] * 5)
    world.slots.fit(PLACES)
    world.until(lambda: world.endings)
    assert world.endings == [Ending("a worker group died 5 times without any progress (rank 1 went away)")]


def test_progress_and_lost_machines_are_no_deaths_of_the_slot(world: World) -> None:
    world.ends.extend([KILLED] * 4)
    world.left.extend([NOTHING] * 3 + [Left(2, "a", (HERE,))])
    world.slots.fit(PLACES)
    world.until(lambda: world.up)
    assert world.said[-1] == "worker group 0 ended: rank 1 went away; a goes on in the next one"

    world.lost = (THERE,)
    world.ends.extend([KILLED] * 9)
    world.slots.fit(Places("CPU", 1, 2, "STRICT_PACK"))
    world.until(lambda: world.up == 2)
    assert world.endings == []
    assert world.counted == [True] * 4 + [False] * 9
    assert world.said[-1] == "worker group 1 ended: the machine 10.0.0.2 went away"


def test_a_slot_that_kills_what_it_gets_is_closed_and_the_rest_goes_on(world: World) -> None:
    world.slots.fit(PLACES)
    world.until(lambda: world.up)
    world.ends.extend([KILLED] * 5)
    world.slots.fit(Places("CPU", 1, 2, "STRICT_PACK"))
    world.until(lambda: any("is closed" in line for line in world.said))
    assert world.said[-1].startswith("worker group 1 is closed: a worker group died 5 times")
    assert world.said[-1].endswith("; 1 go on")
    world.slots.fit(Places("CPU", 1, 2, "STRICT_PACK"))  # counted again: it is not started again
    assert (world.slots.groups, len(world.threads), world.endings) == (1, 2, [])


def test_a_slot_whose_machine_went_away_is_given_up_while_others_run(world: World) -> None:
    world.free = 1
    world.slots.fit(Places("CPU", 1, 2, "STRICT_PACK"))
    world.until(lambda: world.up == 1)
    world.slots.fit(PLACES)
    world.until(lambda: [thread.is_alive() for thread in world.threads].count(True) == 1)
    assert world.slots.groups == 1
    world.free = 1
    world.slots.fit(Places("CPU", 1, 2, "STRICT_PACK"))  # a machine joined
    world.until(lambda: world.up == 2)


def test_without_any_machine_the_last_slot_waits_until_the_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_WAIT_MINUTES", "0.005")
    world.free = 0
    world.slots.fit(Places("CPU", 1, 0, "STRICT_PACK"))
    world.until(lambda: world.endings)
    words = (
        "there was no machine for a worker group for 0 s: it needs 1 CPU; wait longer with SDL_WAIT_MINUTES"
    )
    assert world.endings == [Ending(words, machine=True)]


def test_a_cluster_that_is_busy_with_others_is_waited_for_without_a_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_WAIT_MINUTES", "0")
    monkeypatch.setattr("sdl_study.workers.waiting._TELL_SECONDS", 0.1)
    world.free = 0
    world.slots.fit(PLACES)
    world.until(lambda: world.said)
    assert world.said[0] == "worker group 0 waits for 1 CPU (for 0 s)"
    world.free = 1
    world.until(lambda: world.up)
    assert world.endings == []


def test_a_full_disk_ends_all(world: World) -> None:
    world.ends.append(KILLED)
    world.reason = "the disk of /studies is full"
    world.slots.fit(PLACES)
    world.until(lambda: world.endings)
    assert world.endings == [Ending("the disk of /studies is full", machine=True)]


def test_a_broker_that_went_away_is_told_and_when_the_engine_closes_nothing_is(world: World) -> None:
    world.broken = True
    world.ends.append(KILLED)
    world.slots.fit(PLACES)
    world.until(lambda: world.endings)
    assert world.endings == [Ending("the broker of the worker groups went away (ActorDiedError)")]


def test_at_the_end_a_group_that_dies_says_nothing(world: World) -> None:
    world.over.set()
    world.slots.fit(PLACES)
    world.threads[0].join(5.0)
    assert (world.said, world.endings) == ([], [])


@pytest.mark.parametrize(
    ("error", "lost", "words"),
    [
        (KILLED, (), "rank 1 on 10.0.0.2 went away"),
        (KILLED, (THERE,), "the machine 10.0.0.2 went away"),
        (
            WorkerGroupError("text", {0: JobRaised("another rank", follows=True), 1: RayActorError()}),
            (),
            "rank 1 on 10.0.0.2 went away",
        ),
        (WorkerGroupError("text", {0: JobRaised("OSError (EIO)")}), (), "rank 0 on 10.0.0.1 raised OSError (EIO)"),
        (WorkerGroupError("text", {0: ValueError("a patient")}), (), "rank 0 on 10.0.0.1 ended by ValueError"),
        (ControllerError(GroupUnreachable("rank 0 does not reach rank 1")), (), "rank 0 does not reach rank 1"),
        (ControllerError(RuntimeError("a patient")), (), "its ranks did not come up (RuntimeError)"),
        (ControllerError(WorkerGroupStartupTimeoutError(2)), (), "its machines were taken by others"),
        (RuntimeError("a patient"), (), "RuntimeError"),
    ],
)  # fmt: skip
def test_what_a_group_ended_by_is_said_in_our_own_words(
    error: Exception, lost: Sequence[Member], words: str
) -> None:
    assert reason_of(error, (HERE, THERE), lost) == words


def test_groups_that_would_have_work_are_waited_for_in_silence_and_count_when_they_have_a_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdl_study.workers.waiting._TELL_SECONDS", 0.0)
    world.free = 2
    two = Places("CPU", 1, 2, "STRICT_PACK")
    world.slots.fit(two, wanted=9)
    world.until(lambda: world.up == 2)
    assert len(world.threads) == 4  # at most as many more as there are
    assert (world.slots.groups, world.said) == (2, [])
    world.free = 1  # a machine joined for one of them
    world.slots.fit(Places("CPU", 1, 3, "STRICT_PACK"), wanted=1)
    world.until(lambda: world.up == 3)
    world.slots.fit(Places("CPU", 1, 3, "STRICT_PACK"))
    world.until(lambda: [thread.is_alive() for thread in world.threads].count(True) == 3)
    assert (world.slots.groups, world.said) == (3, [])
