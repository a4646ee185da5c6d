"""The broker between jobs and worker groups: one actor, no CPU, so that a group serves trial after trial.

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

from sdl_study.workers.events import End, Epoch, Event, Failed
from sdl_study.workers.job import Job

ACTOR_NAME = "sdl-broker"
NAMESPACE = "sdl"


@dataclass
class _Live:
    """A job that was submitted and has not been given back."""

    job: Job
    slot: int | None = None
    attempts: int = 1
    released: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    answer: asyncio.Future[bool] | None = None
    delivered: Event | None = None

    def replay(self) -> None:
        """Whoever took the last event may have died before it was recorded: it comes once more."""
        waiting = [] if self.delivered is None else [self.delivered]
        while not self.events.empty():
            waiting.append(self.events.get_nowait())
        for event in waiting:
            self.events.put_nowait(event)
        self.delivered = None

    def settle(self, goes_on: bool) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(goes_on)


class Broker:
    """State of all jobs of one command; a Ray actor with async methods (and usable without Ray in tests).

    Args:
        max_attempts: how often a job is handed out before the machine's failure becomes the job's end.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._live: dict[str, _Live] = {}
        self._queue: deque[str] = deque()
        self._work = asyncio.Condition()
        self._closed = False
        self._fatal: str | None = None
        self._steps: dict[int, int] = {}

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
        async with self._work:
            if job.resumed:
                self._queue.appendleft(key)
            else:
                self._queue.append(key)
            self._work.notify_all()

    async def next_event(self, key: str) -> Event:
        """The next event of a job; asking for it tells the group to go on after the last one."""
        live = self._live[key]
        if live.delivered is not None:
            live.settle(True)
        live.delivered = await live.events.get()
        return live.delivered

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
        if live.slot is not None:
            await live.ended.wait()
        del self._live[key]

    # The group's side.

    async def next_job(self, slot: int, wait_seconds: float) -> Job | Literal["idle"] | None:
        """The next job of a group: its own unfinished one first. "idle" after waiting, None when it shall end."""
        unfinished = self._unfinished_of(slot)
        if unfinished is not None:
            return unfinished
        async with self._work:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait_for(lambda: self._queue or self._closed), wait_seconds)
            if self._closed:
                return None
            if not self._queue:
                return "idle"
            key = self._queue.popleft()
        live = self._live[key]
        live.slot = slot
        return live.job

    def _unfinished_of(self, slot: int) -> Job | None:
        """A job that the slot's last group left behind, once more, or its end after too many attempts."""
        for key, live in self._live.items():
            if live.slot != slot or live.ended.is_set():
                continue
            if live.released:
                live.ended.set()
                return None
            if live.attempts >= self._max_attempts:
                self._steps[slot] = self._steps.get(slot, 0) + 1
                self._end(key, Failed("machine", "every group that took it went away"))
                return None
            live.attempts += 1
            live.answer = None
            return replace(live.job, resumed=True)
        return None

    async def report(self, key: str, slot: int, epoch: Epoch) -> bool:
        """Hand over an epoch; returns whether the job goes on."""
        live = self._live[key]
        self._steps[slot] = self._steps.get(slot, 0) + 1
        if live.released:
            return False
        live.answer = asyncio.get_running_loop().create_future()
        live.events.put_nowait(replace(epoch, attempts=live.attempts))
        return await live.answer

    async def finish(self, key: str, slot: int, end: End) -> None:
        """Give a job back. The first word about its end counts."""
        self._steps[slot] = self._steps.get(slot, 0) + 1
        live = self._live.get(key)
        if live is not None and not live.ended.is_set():
            self._end(key, end)

    def _end(self, key: str, end: End) -> None:
        live = self._live[key]
        live.events.put_nowait(replace(end, attempts=live.attempts))
        live.ended.set()

    # The command's side.

    async def steps(self, slot: int) -> int:
        """How many reports and ends a slot has given: whether its groups get anywhere."""
        return self._steps.get(slot, 0)

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
        async with self._work:
            self._work.notify_all()
