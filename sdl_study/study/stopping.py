"""Ending a study from another process: its driver gets the signal that a batch system would send."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from sdl_study.ending import Disagreement
from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.holder import Held, Holder
from sdl_study.record.journal import read

_POLL_SECONDS = 0.1


def stop(files: StudyFiles, found: Held, seconds: float) -> Iterator[str]:
    """Ask the driver of a study to end in order, and wait for it; a line whenever there is something to say.

    Args:
        files: of the study.
        found: who holds it.
        seconds: to wait.

    Raises:
        UserError: the driver is not known, runs on another machine, or is another user's.
        Disagreement: it is still there after that time.
    """
    if not found.held:
        yield f"{files.name}: no process runs it"
        return
    driver = _driver_here(files, found.by)
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except PermissionError:
        raise UserError(
            f"{files.name}: process {driver.pid} is another user's; whoever started it can stop it"
        ) from None
    except ProcessLookupError:  # it ended in this moment
        yield f"{files.name}: process {driver.pid} has ended"
        return
    yield f"{files.name}: process {driver.pid} was asked to end, and with it what its command has after this study"
    started = time.monotonic()
    while driver.is_alive:
        if time.monotonic() - started > seconds:
            raise Disagreement(
                f"{files.name}: process {driver.pid} is still there after {seconds:g} s; wait for it, or run the same "
                "command again, which ends it at once"
            )
        time.sleep(_POLL_SECONDS)
    yield f"{files.name}: ended after {time.monotonic() - started:.1f} s; {_kept(files)}"


def _driver_here(files: StudyFiles, by: Holder | None) -> Holder:
    """The driver, where it is a process of this machine."""
    if by is None:
        raise UserError(
            f"{files.name}: a process runs it that left no word of itself (an earlier version); end that process with "
            "SIGTERM or Ctrl-C"
        )
    if not by.is_here:
        raise UserError(
            f"{files.name}: process {by.pid} on host {by.host} runs it; give the same command there, or kill -TERM "
            f"{by.pid}"
        )
    if not by.is_alive:
        raise UserError(
            f"{files.name}: process {by.pid}, which took it, has ended, and something that it started holds the study "
            f"still: {files.lock} (fuser names it)"
        )
    return by


def _kept(files: StudyFiles) -> str:
    trials = read(files.journal).all()
    running = sum(trial.state == "running" for trial in trials)
    on = f", {running} of them go on from their checkpoints" if running else ""
    return f"{len(trials)} trials are kept{on}; the study's own command goes on where it was"
