"""A job's side of the broker: whoever wants a job done leases a worker group for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import ray

from sdl_study.workers.broker import NAMESPACE
from sdl_study.workers.events import Done, Epoch, Event
from sdl_study.workers.job import Job

_OPEN = threading.Condition()
_open_leases = 0


def _count(change: int) -> None:
    global _open_leases
    with _OPEN:
        _open_leases += change
        _OPEN.notify_all()


def no_lease_left(seconds: float) -> bool:
    """Wait until no thread of this process has a lease, and so asks Ray nothing any more; returns whether it came."""
    with _OPEN:
        return _OPEN.wait_for(lambda: _open_leases == 0, timeout=max(0.0, seconds))


class Lease:
    """A worker group for a job: iterate over the job's events, the last of which is its end.

    Asking for the next event lets the group go on; leaving the ``with`` block early stops the job and returns once
    its group is free.

    Args:
        job: to be done.
        broker: name of the engine's broker.
    """

    def __init__(self, job: Job, broker: str) -> None:
        self._job = job
        self._broker = ray.get_actor(broker, namespace=NAMESPACE)
        self._done = False

    def __enter__(self) -> Lease:
        _count(+1)
        try:
            ray.get(self._broker.submit.remote(self._job))
        except BaseException:
            _count(-1)
            raise
        return self

    def __iter__(self) -> Iterator[Event]:
        while True:
            event: Any = ray.get(self._broker.next_event.remote(self._job.key))
            self._done = isinstance(event, Done)
            yield event
            if not isinstance(event, Epoch):
                return

    def __exit__(self, *_: object) -> None:
        try:
            released = self._broker.release.remote(self._job.key)
            if not self._done:  # else its group is free, and the job is not submitted again
                ray.get(released)
        finally:
            _count(-1)
