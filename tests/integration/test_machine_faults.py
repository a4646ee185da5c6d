"""What the machine does to a job is no trial's failure; a full disk ends the study in a line, a signal in seconds."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read
from tests.integration.conftest import Engines
from tests.integration.test_faults import GOES_ON, ROOT, lines_until
from tests.integration.tiny import tiny_data

FEW = (
    "train.epochs=3",
    "train.workers=1",
    "budget.trials=1",
    "budget.first_rung=3",
    "arms=('any','sd')",
    "controls=()",
)

# A signal while Ray's C++ part is there and what Ray does at its start is not at its end.
TOLD_WHILE_RAY_STARTS = """
import os, signal, sys
import psutil
from ray._private import worker
from sdl_study.run import main_of
from sdl_study.study.signals import Interruptions
from sdl_study.workers.ray_session import RaySession

connect = worker.connect

def connect_and_be_told(*given, **more):
    connect(*given, **more)
    os.kill(os.getpid(), signal.SIGTERM)

def command():
    with Interruptions().in_order():
        try:
            RaySession(None, lambda: None).start()
        finally:
            print("seconds until an alarm:", signal.alarm(0))
            print("left:", [child.name() for child in psutil.Process().children() if child.status() != "zombie"])

worker.connect = connect_and_be_told
sys.exit(main_of(command))
"""


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.integration.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_whole(out: Path, epochs: int, trials: int) -> None:
    records = read(StudyFiles(out, "tiny").journal).all()
    whole = [("complete", [*range(1, epochs + 1)])] * trials
    assert [(record.state, sorted(record.epochs)) for record in records] == whole
    assert StudyFiles(out, "tiny").answer.exists()


@pytest.mark.slow
def test_a_full_disk_ends_the_study_in_one_line_and_costs_no_trial(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    out, told = start("faulty_jobs", str(tmp_path), str(errno.ENOSPC), *FEW).communicate(timeout=200)
    folder = StudyFiles(tmp_path, "tiny").trial(1)
    assert told == f"error: tiny: the disk of {folder} is full; {GOES_ON}", (out, told)
    states = [record.state for record in read(StudyFiles(tmp_path, "tiny").journal).all()]
    assert states[1] == "running"
    assert "failed" not in states

    again = start("faulty_jobs", str(tmp_path), str(errno.ENOSPC), *FEW)
    out, told = again.communicate(timeout=200)
    assert (again.returncode, told) == (0, ""), out
    check_whole(tmp_path, epochs=3, trials=2)


@pytest.mark.slow
def test_a_mount_that_is_lost_for_a_moment_costs_no_trial(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    command = start("faulty_jobs", str(tmp_path), str(errno.ESTALE), *FEW)
    out, told = command.communicate(timeout=200)
    assert (command.returncode, told) == (0, ""), out
    (line,) = (line for line in out.splitlines() if "worker group" in line and " ended: " in line)
    assert "raised OSError" in line
    assert line.endswith("(ESTALE); tiny/trial/1 goes on in the next one")
    assert "patient" not in out
    check_whole(tmp_path, epochs=3, trials=2)


@pytest.mark.slow
def test_a_signal_in_the_finals_ends_them_all_in_seconds(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    more = (*FEW, "budget.final_seeds=6")
    command = start("tiny", str(tmp_path), *more)
    lines_until(command, "final/")
    command.send_signal(signal.SIGTERM)
    since = time.monotonic()
    out, told = command.communicate(timeout=60)
    assert time.monotonic() - since < 15.0
    assert (command.returncode, told) == (130, f"interrupted; {GOES_ON}")
    assert len({line.split()[2] for line in out.splitlines() if "final/" in line}) <= 2, out

    again = start("tiny", str(tmp_path), *more)
    out, told = again.communicate(timeout=200)
    assert (again.returncode, told) == (0, "")
    check_whole(tmp_path, epochs=3, trials=2)


def test_a_signal_while_ray_starts_is_an_interruption_like_any_other(engines: Engines) -> None:
    engines.close()
    ended = subprocess.run(
        [sys.executable, "-c", TOLD_WHILE_RAY_STARTS],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.stderr == "interrupted; the same command goes on where it was\n"
    assert (ended.returncode, ended.stdout) == (130, "seconds until an alarm: 0\nleft: []\n")
