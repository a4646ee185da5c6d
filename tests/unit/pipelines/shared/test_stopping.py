"""A preparation that is ended by a signal, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.shared import runner
from pipelines.shared.stopping import stopped_in_order

# The main thread is inside polars, which does not let Python's own handlers run, when the signal comes.
PREPARING = """
import sys, time
from pathlib import Path
import polars as pl
from pipelines.shared.runner import main
from sdl_study.data.writer import temporary_folder, write_prepared
from tests.unit.data import small

def texts():
    for number in range(60):
        yield pl.DataFrame({"text": [f"PATIENT {number}"]})
        if number == 30 and len(sys.argv) > 2:
            print("ready", flush=True)
            time.sleep(float(sys.argv[2]))

def prepare(arguments):
    out = Path(arguments[0])
    with temporary_folder(out.parent / "out.spool") as spool:
        (spool / "notes").write_text("PATIENT")
        write_prepared(out, small.preparation(), texts())

main(prepare)
"""


def start(out: Path, seconds: str = "120", *before: str) -> subprocess.Popen[str]:
    """A preparation that has said "ready" and waits in the middle of its writing."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", PREPARING, str(out), seconds],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(list(out.parent.glob(".out*"))) == 2
    return process


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_at_once_in_one_line_and_leaves_no_notes(tmp_path: Path, name: str, code: int) -> None:
    process = start(tmp_path / "new" / "out")
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors == f"error: stopped by {name}; unfinished files are removed, what was finished is kept\n"
    assert not [path for path in tmp_path.rglob("*") if path.name != "new"]


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    process = start(tmp_path / "out", "1", "nohup")
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_next_preparation_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    process = start(tmp_path / "out")
    process.kill()
    process.communicate(timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
    done = subprocess.run(
        [sys.executable, "-c", PREPARING, str(tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_handlers_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pipeline"])
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    inside: list[object] = []
    runner.main(lambda _: inside.extend(signal.getsignal(number) for number in numbers))
    assert before == [signal.getsignal(number) for number in numbers]
    assert not set(before) & set(inside)
    assert signal.set_wakeup_fd(-1) == -1
    assert "signals" not in [thread.name for thread in threading.enumerate()]


def test_another_thread_may_run_a_pipeline() -> None:
    reached: list[bool] = []

    def work() -> None:
        with stopped_in_order():
            reached.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == [True]
