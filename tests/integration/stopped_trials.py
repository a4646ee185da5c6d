"""A trial whose process dies as the scheduler stops it: before it can give its group back."""

from __future__ import annotations

import os
import signal
from typing import Any

from ray import tune

from sdl_study.workers.events import to_plain
from sdl_study.workers.job import Job
from sdl_study.workers.lease import Lease


def run_trial_that_dies_when_stopped(config: dict[str, Any]) -> None:
    """As ``sdl_study.trial.run_trial``, until Tune ends it at a report."""
    job = Job(**config["job"])
    with Lease(job, config["broker"]) as lease:
        for event in lease:
            try:
                tune.report({"number": job.number, "told": to_plain(event)})
            except SystemExit:
                os.kill(os.getpid(), signal.SIGKILL)
