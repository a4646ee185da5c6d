"""The tiny study's command, whose second trial meets an error of the system once, after its first epoch.

python -m tests.integration.faulty_jobs OUT NUMBER [PATH=VALUE ...]: NUMBER is the error's (errno).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from sdl_study.run import main_of
from sdl_study.study import session
from sdl_study.training.run import run_job
from sdl_study.workers.events import Epoch
from sdl_study.workers.job import Job, Report
from tests.integration import tiny

_NUMBER = "SDL_TEST_ERRNO"


def run_faulty(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    """As the real one, until the fault."""
    met = Path(job.folder).parent / "met"

    def faulty(epoch: Epoch) -> bool:
        goes_on = report(epoch)
        if job.number == 1 and not met.exists():
            met.touch()
            raise OSError(int(os.environ[_NUMBER]), "a patient's words")
        return goes_on

    return run_job(job, faulty, channel, device)


def _command() -> None:
    os.environ[_NUMBER] = sys.argv.pop(2)
    session.RUN_JOB = "tests.integration.faulty_jobs:run_faulty"
    tiny.command()


if __name__ == "__main__":
    sys.exit(main_of(_command))
