"""Nobody reading what a command prints costs nothing but the lines; every way a stream can fail, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import sys
from sdl_study.ending import main_of
from sdl_study.errors import UserError
def work():
    print("first line")
    for _ in range(3):
        print("τ=.100 → " + "x" * 70_000)
    print("told", file=sys.stderr)
    open(sys.argv[1], "w").write("the end was reached")
    {ending}
sys.exit(main_of(work))
"""
LOST = "error: standard output could not be written (No space left on device): what was printed from there on is lost\n"


def run(
    shell: str, end: Path, ending: str = "pass", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as ``$RUN`` of a shell line."""
    script = end.with_name("command.py")
    script.write_text(COMMAND.format(ending=ending))
    command = f"{sys.executable} {script} {end}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell.replace("$RUN", command)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ("$RUN | head -1", 0, "told\n"),
        ("$RUN | true", 0, "told\n"),
        ("$RUN 2>&1 | head -1", 0, ""),
        ("$RUN > /dev/full", 2, "told\n" + LOST),
        ("$RUN >&-", 0, "told\n"),
        ("$RUN 2>&-", 0, ""),
        ("$RUN 2> /dev/full", 0, ""),
        ("$RUN > /dev/full 2>&1", 2, ""),
        ("$RUN >&- 2>&-", 0, ""),
        ("$RUN <&- >&- 2>&-", 0, ""),
    ],
)
def test_the_work_is_done_whoever_reads(shell: str, code: int, told: str, tmp_path: Path) -> None:
    done = run(shell, tmp_path / "end")
    assert (tmp_path / "end").read_text() == "the end was reached"
    assert (done.returncode, done.stderr.decode()) == (code, told)


@pytest.mark.parametrize("shell", ["$RUN | head -1", "$RUN > /dev/full", "$RUN 2>&-", "$RUN >&-"])
def test_a_mistake_keeps_its_exit_code(shell: str, tmp_path: Path) -> None:
    done = run(shell, tmp_path / "end", "raise UserError('a mistake')")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert (b"error: a mistake\n" in done.stderr) == ("2>&-" not in shell)


def test_a_stream_closed_from_the_start_is_not_the_next_file(tmp_path: Path) -> None:
    """Without a descriptor 1 the first file opened would take it, and get what others write to standard output."""
    ending = "file = open(sys.argv[1], 'w'); import os; os.write(1, b'of somebody else'); file.close()"
    run("$RUN >&-", tmp_path / "end", ending)
    assert (tmp_path / "end").read_text() == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
def test_signs_that_an_encoding_lacks(environment: dict[str, str], tmp_path: Path) -> None:
    done = run("$RUN | cut -c 1-20", tmp_path / "end", **environment)
    assert (done.returncode, done.stderr) == (0, b"told\n")
    assert done.stdout.splitlines()[1].startswith(b"\\u03c4=.100 \\u2192 ")


@pytest.mark.parametrize(
    ("arguments", "shell"),
    [
        ("sdl_study.run --help", "$RUN > /dev/full"),
        ("sdl_study.run check data {data}", "$RUN > /dev/full"),
        ("pipelines.demo --help", "$RUN > /dev/full"),
    ],
)
def test_the_commands_themselves(arguments: str, shell: str, tmp_path: Path) -> None:
    from tests.integration.tiny import tiny_data

    command = f"{sys.executable} -m {arguments.format(data=tiny_data(tmp_path))}"
    done = subprocess.run(
        ["bash", "-c", shell.replace("$RUN", command)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr.decode()) == (2, LOST)
