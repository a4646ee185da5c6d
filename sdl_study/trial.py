"""A trial: a Tune function that leases a worker group, streams its events to Tune and gives the group back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune

from sdl_study.workers.events import Done, Event, from_plain, to_plain
from sdl_study.workers.job import Job
from sdl_study.workers.lease import Lease

_TOLD = "told/"


def run_trial(config: dict[str, Any]) -> None:
    """What Tune runs for a trial; it needs no CPU of its own.

    Reports the trial's number and its events; the searcher and scheduler in the driver read them. Tune ends this
    function at a report when the scheduler stops the trial. That it ran to its end Tune hears by the function's own,
    but refuses a function that has reported nothing: one that takes the place of another may come for the end alone.
    """
    job, told = Job(**config["job"]), False
    with Lease(job, config["broker"]) as lease:
        for event in lease:
            if isinstance(event, Done) and told:
                return
            tune.report({"number": job.number, "told": to_plain(event)})
            told = True


def reported(result: Mapping[str, Any]) -> Event:
    """The event of a result as Tune hands it on: flattened to ``told/metrics/dev/map``, among values of its own."""
    plain: dict[str, Any] = {}
    for path, value in result.items():
        if path.startswith(_TOLD):
            name, nested, inner = path.removeprefix(_TOLD).partition("/")
            if nested:
                plain.setdefault(name, {})[inner] = value
            else:
                plain[name] = value
    return from_plain(plain)
