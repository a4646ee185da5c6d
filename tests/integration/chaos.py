"""The tiny study with learning rates at which a loss is no number, and hands that kill its processes as it runs.

python -m tests.integration.chaos OUT [PATH=VALUE ...]: the study as a command.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from sdl_study.commands.study import parse_overrides
from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read
from sdl_study.run import main_of
from sdl_study.space import SearchSpace, choice, log_uniform
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute
from tests.integration.golden_study import record
from tests.integration.tiny import tiny_data, tiny_study

ROOT = Path(__file__).resolve().parents[2]
NAME = "chaos"
ARMS = ("any", "sd")
DIVERGES = 1e30
"""A learning rate after whose first step the loss is no number."""

ENDS_THE_COMMAND = ("driver", "signal", "broker")
"""With these the command ends, and the same command goes on; with the others it goes on by itself."""
SIGNALS = {"driver": signal.SIGKILL, "signal": signal.SIGTERM}
"""What the command itself may be sent."""
INTERRUPTED = "interrupted; the same command goes on where it was\n"
PROCESSES = {"worker": "RayTrainWorker", "trainable": "ImplicitFunc", "broker": "Broker"}
"""What can be killed beside the driver, and what stands in the name that Ray gives its process."""


def start(out: Path, *overrides: str) -> subprocess.Popen[str]:
    """The study's command; one group of two workers."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.chaos", str(out), *overrides],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play(out: Path, faults: Sequence[tuple[str, int]], *overrides: str, seconds: float = 120.0) -> int:
    """Run the study to its end, through faults; returns how many epochs its commands told.

    Args:
        out: folder of studies.
        faults: what is killed, and after how many further lines about an epoch or a final.
        overrides: of the study's settings.
        seconds: how long a process that is to be killed is waited for.

    Raises:
        AssertionError: a command ends in another way than it should, or before every fault has come.
    """
    left, epochs = list(faults), 0
    while True:
        driver = start(out, *overrides)
        try:
            ended_by, told_epochs = _run_until_it_ends(driver, left, seconds)
            epochs += told_epochs
            told = driver.communicate(timeout=seconds)
            if ended_by is None:
                assert driver.returncode == 0, told
                assert not left, f"the study ended before {left}"
                return epochs
            if ended_by == "broker":  # said in a line, whatever it costs
                assert driver.returncode in (1, 2), told
                assert told[1].startswith(f"error: {NAME}: the broker of the worker groups went away"), told
                assert told[1].count("\n") == 1, told
            if ended_by == "signal":
                assert (driver.returncode, told[1]) == (130, INTERRUPTED), told
        finally:
            _end(driver)


def _run_until_it_ends(
    driver: subprocess.Popen[str], left: list[tuple[str, int]], seconds: float
) -> tuple[str | None, int]:
    """Read a command's lines and kill what is to be killed; returns what the command ended by, if it was a fault, and
    how many epochs of trials it told."""
    assert driver.stdout is not None
    lines = epochs = 0
    for line in driver.stdout:
        epochs += "  epoch " in line and "/" not in line.partition("  epoch ")[0]
        lines += "epoch " in line or "final/" in line
        if not left or lines < left[0][1]:
            continue
        what, _ = left.pop(0)
        _kill(driver, what, seconds)
        lines = 0
        if what in ENDS_THE_COMMAND:
            return what, epochs
    return None, epochs


def _kill(driver: subprocess.Popen[str], what: str, seconds: float) -> None:
    """SIGKILL one process of a command; of two workers the younger one, whatever its rank."""
    if what in SIGNALS:
        driver.send_signal(SIGNALS[what])
        return
    deadline = time.monotonic() + seconds
    while not (found := _found(driver, PROCESSES[what])):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, f"no process of {what}"
        time.sleep(0.01)
    with suppress(psutil.NoSuchProcess):  # it ended by itself just now, which is as good
        max(found, key=lambda process: process.pid).kill()


def _found(driver: subprocess.Popen[str], title: str) -> list[psutil.Process]:
    return [child for child in _family(driver) if title in _title(child)]


def _family(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(driver.pid).children(recursive=True)
    return []


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        words = process.cmdline()
        return words[0] if words and words[0].startswith("ray::") else ""
    return ""


def _end(driver: subprocess.Popen[str]) -> None:
    family = _family(driver)
    if driver.poll() is None:
        driver.kill()
        driver.communicate()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10.0)


def left_by(out: Path) -> dict[str, Any]:
    """What must be the same whatever was killed: trials of the journal, leaderboard, predictions, values in MLflow."""
    files = StudyFiles(out, NAME)
    trials = [
        {
            "number": trial.number,
            "arm": trial.arm,
            "state": trial.state,
            "failure": trial.failure,
            "parameters": trial.parameters,
            "epochs": {epoch: _without_time(metrics) for epoch, metrics in sorted(trial.epochs.items())},
        }
        for trial in read(files.journal).all()
    ]
    return {"trials": trials, **record(files)}


def _without_time(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if key != "seconds" and not math.isnan(value)}


def _command() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    given, overrides = parser.parse_known_args()
    study = tiny_study(tiny_data(given.out / "prepared"), ARMS)
    space = SearchSpace(
        parameters=(
            choice("train.learning_rate", 2e-3, 5e-3, DIVERGES),
            log_uniform("loss.temperature", 0.05, 0.5),
        ),
        published={"train.learning_rate": 5e-3, "loss.temperature": 0.07},
    )
    plan = make_plan(replace(study, space=space), given.out, NAME, parse_overrides(overrides), False)
    execute([plan], None, None)


if __name__ == "__main__":
    sys.exit(main_of(_command))
