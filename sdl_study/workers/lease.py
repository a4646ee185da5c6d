"""A job's side of the broker: whoever wants a job done leases a worker group for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray

from sdl_study.workers.broker import ACTOR_NAME, NAMESPACE
from sdl_study.workers.events import Epoch, Event
from sdl_study.workers.job import Job


class Lease:
    """A worker group for a job: iterate over the job's events, the last of which is its end.

    Asking for the next event lets the group go on; leaving the ``with`` block early stops the job and returns once
    its group is free.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._broker = ray.get_actor(ACTOR_NAME, namespace=NAMESPACE)

    def __enter__(self) -> Lease:
        ray.get(self._broker.submit.remote(self._job))
        return self

    def __iter__(self) -> Iterator[Event]:
        while True:
            event: Any = ray.get(self._broker.next_event.remote(self._job.key))
            yield event
            if not isinstance(event, Epoch):
                return

    def __exit__(self, *_: object) -> None:
        ray.get(self._broker.release.remote(self._job.key))
