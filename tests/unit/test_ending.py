"""How commands end: what is said, once, before whoever could end the process; and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study.ending import MachineFailure, main_of, tell
from sdl_study.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def ended_by(error: BaseException) -> int:
    def command() -> None:
        raise error

    return main_of(command)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("a.csv: row 3: no label"), 2, "error: a.csv: row 3: no label\n"),
        (UserError("two:\n  one\n  other"), 2, "error: two:\n  one\n  other\n"),
        (MachineFailure("Ray went away"), 1, "error: Ray went away\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it was\n"),
    ],
)
def test_words_and_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_by(error) == code
    assert capsys.readouterr().err == words


def test_what_was_told_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("once")
    assert tell(error) == 2
    assert ended_by(error) == 2
    assert capsys.readouterr().err == "error: once\n"


def test_an_unexpected_error_shows_its_place_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended_by(ValueError("a patient's words")) == 1
    told = capsys.readouterr().err
    assert told.startswith("internal error")
    assert "patient" not in told


@pytest.mark.parametrize(("ending", "code"), [("pass", 0), ("raise UserError('no')", 2)])
def test_a_thread_that_will_not_end_does_not_keep_the_process(ending: str, code: int) -> None:
    """As threads that wait for a Ray which went away: everything is said, and the process ends."""
    script = f"""
import sys, threading
from sdl_study.ending import main_of, must_leave_at_once
from sdl_study.errors import UserError
def work():
    threading.Thread(target=threading.Event().wait).start()
    must_leave_at_once()
    print("the answer")
    {ending}
sys.exit(main_of(work))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (code, "the answer\n")
    assert done.stderr == ("error: no\n" if code else "")
