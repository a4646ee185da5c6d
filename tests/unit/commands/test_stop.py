"""``stop`` ends the driver of a study in order, and says what to do where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sdl_study.record.files import StudyFiles
from sdl_study.record.held import locked
from sdl_study.record.holder import Holder, look_at
from sdl_study.run import main
from tests.unit.report.studies import searched

ROOT = Path(__file__).resolve().parents[3]
DRIVER = """
import sys, time
from pathlib import Path
from sdl_study.record.files import StudyFiles
from sdl_study.record.held import locked
from sdl_study.study.signals import Interruptions
with Interruptions().in_order(), locked(StudyFiles(Path(sys.argv[1]), "small")):
    try:
        print("runs", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(float(sys.argv[2]))
"""


@contextmanager
def driver(out: Path, seconds_to_end: float = 0.2) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the study as a driver does, and takes some time to end."""
    arguments = [sys.executable, "-c", DRIVER, str(out), str(seconds_to_end)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        yield process
        process.kill()


def test_a_driver_ends_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched(tmp_path, stop_after=3)
    with driver(tmp_path) as process:
        assert main(["stop", "small", "--out", str(tmp_path)]) == 0
        assert process.wait(5) == 0
    asked, ended = capsys.readouterr().out.splitlines()
    assert f"process {process.pid} was asked to end" in asked
    assert "3 trials are kept; the study's own command goes on" in ended
    assert not look_at(StudyFiles(tmp_path, "small")).held
    assert main(["stop", "small", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "small: no process runs it\n"


def test_one_that_takes_longer_than_the_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched(tmp_path, stop_after=1)
    with driver(tmp_path, seconds_to_end=600):
        assert main(["stop", "small", "--out", str(tmp_path), "--wait", "0.5"]) == 1
    assert "is still there after 0.5 s" in capsys.readouterr().err


def test_a_process_that_is_not_here_gets_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another machine its number may be anybody's here."""
    searched(tmp_path, stop_after=1)
    monkeypatch.setattr(os, "kill", None)
    files, here = StudyFiles(tmp_path, "small"), Holder.this_process()
    elsewhere, gone = replace(here, host="w1"), replace(here, ticks=here.ticks - 1)
    with locked(files):
        for words, by in {
            "on host w1 runs it": elsewhere,
            "has ended": gone,
            "no word of itself": None,
        }.items():
            files.lock.write_text("" if by is None else json.dumps(asdict(by)))
            assert main(["stop", "small", "--out", str(tmp_path)]) == 2
            told = capsys.readouterr().err
            assert (words in told, told.count("\n")) == (True, 1)


def test_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "nothing", "--out", str(tmp_path)]) == 2
    assert "there is no study of this name" in capsys.readouterr().err
