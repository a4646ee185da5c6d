"""A trial: a Tune function that leases a worker group, streams its epochs to Tune and gives the group back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray
from ray import tune

from sdl_study.training.broker import ACTOR_NAME, NAMESPACE

ENDS = ("done", "stopped", "failed")


class Lease:
    """A job's side of the broker: iterate over its events, the last of which is its end.

    Asking for the next event lets the group go on; leaving the ``with`` block early stops the job and returns once
    its group is free.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._broker = ray.get_actor(ACTOR_NAME, namespace=NAMESPACE)

    def __enter__(self) -> Lease:
        ray.get(self._broker.submit.remote(self._job))
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            event: Any = ray.get(self._broker.next_event.remote(self._job["key"]))
            yield event
            if event["event"] in ENDS:
                return

    def __exit__(self, *_: object) -> None:
        ray.get(self._broker.release.remote(self._job["key"]))


def run_trial(config: dict[str, Any]) -> None:
    """What Tune runs for a trial; it needs no CPU of its own.

    Reports {"number", "event", "epoch", "metrics", ...}; the searcher and scheduler in the driver read them. Tune
    ends this function at a report when the scheduler stops the trial.
    """
    with Lease(config["job"]) as lease:
        for event in lease:
            tune.report({"number": config["job"]["number"], **event})
