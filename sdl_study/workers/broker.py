"""The broker between jobs and worker groups: one actor, no CPU, so that a group serves trial after trial.

A group has a number of its own, and so has the one that takes its place when it dies; its job goes to the head of the
queue that all groups share.

A job's side submits it, takes its events one by one and at the end gives the group back. A group's side takes the
next job, reports every epoch and is told whether to go on: the answer to a report is the other side's next step
(asking for the next event means go on, releasing the job means stop), so a scheduler's decision reaches the workers
before they start another epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

from sdl_study.workers.events import End, Epoch, Event, Failed, Stopped
from sdl_study.workers.job import Job

NAMESPACE = "sdl"


@dataclass(frozen=True)
class Member:
    """A rank of a worker group, and the machine that it runs on."""

    rank: int
    node: str
    address: str


@dataclass(frozen=True)
class Left:
    """What a group that is gone has left behind.

    Attributes:
        steps: how many reports and ends it gave: whether it got anywhere.
        key: of the job that goes on in another group, if there is one.
        members: the ranks that came up.
    """

    steps: int
    key: str | None
    members: tuple[Member, ...]


@dataclass
class _Live:
    """A job that was submitted and has not been given back.

    Attributes:
        group: that has it; None while it is queued.
        attempts: how often it was handed out.
        deaths: how many groups died with it, for which no lost machine is to blame.
    """

    job: Job
    group: int | None = None
    attempts: int = 0
    deaths: int = 0
    released: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    answer: asyncio.Future[bool] | None = None
    delivered: Event | None = None

    def replay(self) -> None:
        """Whoever took the last event may have died before it was recorded: it comes once more.

        Or it died while it waited for one: Ray goes on with the question of a dead process, which must not take what
        is meant for the next one. It is left with a queue of its own, and an end.
        """
        waiting = [] if self.delivered is None else [self.delivered]
        while not self.events.empty():
            waiting.append(self.events.get_nowait())
        self.events.put_nowait(Stopped())
        self.events = asyncio.Queue()
        for event in waiting:
            self.events.put_nowait(event)
        self.delivered = None

    def settle(self, goes_on: bool) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(goes_on)


class Broker:
    """State of all jobs of one command; a Ray actor with async methods (and usable without Ray in tests).

    Args:
        max_attempts: how many groups may die with a job before the machine's failure becomes the job's end.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._live: dict[str, _Live] = {}
        self._queue: deque[str] = deque()
        self._work = asyncio.Condition()
        self._closed = False
        self._fatal: str | None = None
        self._halted: str | None = None
        self._steps: dict[int, int] = {}
        self._members: dict[int, list[Member]] = {}
        self._gone: set[int] = set()

    async def _wake(self) -> None:
        async with self._work:
            self._work.notify_all()

    # The job's side.

    async def submit(self, job: Job) -> None:
        """Queue a job, resumed ones first; a job that is still live is attached to again, from its last event on."""
        key = job.key
        live = self._live.get(key)
        if live is not None and not live.released:
            live.replay()
            return
        if live is not None and not live.ended.is_set():
            await live.ended.wait()
        self._live[key] = _Live(job)
        if self._fatal:
            self._end(key, Failed("machine", self._fatal))
            return
        if job.resumed:
            self._queue.appendleft(key)
        else:
            self._queue.append(key)
        await self._wake()

    async def next_event(self, key: str) -> Event:
        """The next event of a job; asking for it tells the group to go on after the last one."""
        live = self._live[key]
        if live.delivered is not None:  # it was recorded, or the next would not be asked for
            live.settle(True)
            live.delivered = None
        events = live.events
        event = await events.get()
        if events is live.events:
            live.delivered = event
        return event

    async def release(self, key: str) -> None:
        """Stop a job if it still runs, and return once its group has given it back."""
        live = self._live.get(key)
        if live is None:
            return
        live.released = True
        if key in self._queue:
            self._queue.remove(key)
            live.ended.set()
        live.settle(False)
        if live.group is not None:
            await live.ended.wait()
        if self._live.get(key) is live:
            del self._live[key]

    # The group's side.

    async def joined(self, group: int, member: Member) -> None:
        """A rank of a group is up."""
        self._members.setdefault(group, []).append(member)

    async def next_job(self, group: int, wait_seconds: float) -> Job | Literal["idle"] | None:
        """The next job for a group. "idle" after waiting, None when it shall end."""

        def ends() -> bool:
            return self._closed or group in self._gone

        async with self._work:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait_for(lambda: self._queue or ends()), wait_seconds)
            if ends():
                return None
            if not self._queue:
                return "idle"
            key = self._queue.popleft()
        live = self._live[key]
        live.group = group
        live.attempts += 1
        return live.job

    async def report(self, key: str, group: int, epoch: Epoch) -> bool:
        """Hand over an epoch; returns whether the job goes on.

        It does not in a group that was taken for dead, whose machine came back: another one has the job.
        """
        live = self._live.get(key)
        if live is None or live.group != group:
            return False
        self._steps[group] = self._steps.get(group, 0) + 1
        if live.released:
            return False
        live.answer = asyncio.get_running_loop().create_future()
        live.events.put_nowait(replace(epoch, attempts=live.attempts))
        return await live.answer

    async def finish(self, key: str, group: int, end: End) -> None:
        """Give a job back. The first word about its end counts."""
        live = self._live.get(key)
        if live is None or live.group != group:
            return
        self._steps[group] = self._steps.get(group, 0) + 1
        if not live.ended.is_set():
            self._end(key, end)

    async def halt(self, reason: str) -> None:
        """Something that no group can work without is gone; whoever started the groups asks for the reason."""
        self._halted = self._halted or reason

    def _end(self, key: str, end: End) -> None:
        live = self._live[key]
        live.events.put_nowait(replace(end, attempts=max(1, live.attempts)))
        live.ended.set()

    # The command's side.

    async def left(self, group: int, counts: bool) -> Left:
        """A group is gone: the job that it had goes to the head of the queue, or ends after too many deaths.

        Args:
            group: that is gone.
            counts: whether its death counts against the job; that of its machine does not.
        """
        key = next(
            (key for key, live in self._live.items() if live.group == group and not live.ended.is_set()), None
        )
        if key is not None and not self._queued_again(key, counts):
            self._steps[group] = self._steps.get(group, 0) + 1  # giving a job up is progress
            key = None
        self._gone.add(group)  # and takes no job any more: its question may still wait for one
        await self._wake()
        return Left(self._steps.pop(group, 0), key, tuple(self._members.pop(group, ())))

    def _queued_again(self, key: str, counts: bool) -> bool:
        """Whether a job that lost its group is in the queue again."""
        live = self._live[key]
        live.deaths += counts
        if live.released or self._closed:
            live.ended.set()
            return False
        if live.deaths >= self._max_attempts:
            self._end(key, Failed("machine", "every group that took it went away"))
            return False
        live.job, live.group, live.answer = replace(live.job, resumed=True), None, None
        self._queue.appendleft(key)
        return True

    async def members(self, group: int) -> tuple[Member, ...]:
        """The ranks of a group that came up."""
        return tuple(self._members.get(group, ()))

    async def halted(self) -> str | None:
        """Why no group can work any more, if one said so."""
        return self._halted

    async def abort(self, reason: str) -> None:
        """No group can run: every job ends as the machine's failure, and groups are told to end."""
        self._fatal = reason
        for key, live in self._live.items():
            if not live.ended.is_set():
                self._end(key, Failed("machine", reason))
        await self.close()

    async def close(self) -> None:
        """Tell the groups to end; a job that still runs is stopped after its epoch."""
        self._closed = True
        for live in self._live.values():
            live.released = True
            live.settle(False)
        await self._wake()
