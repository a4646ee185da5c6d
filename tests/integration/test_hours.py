"""A study that ends by its hours, for real, and one that goes on with more of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.status import status_of
from tests.integration.conftest import Engines

ROOT = Path(__file__).resolve().parents[2]


def study(out: Path, hours: float) -> list[str]:
    """The lines that the command prints."""
    command = [
        sys.executable, "-m", "sdl_study.run", "study", "demo_coco", "--hours", str(hours), "--trials", "1000",
        "--workers", "1", "--set", "train.epochs=1", "--set", "arms=('any','sd')", "--out", str(out),
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.slow
def test_hours_end_a_study_and_more_of_them_go_on(engines: Engines, tmp_path: Path) -> None:
    engines.close()
    files = StudyFiles(tmp_path, "demo_coco")
    told = study(tmp_path, 0.004)
    assert any("the search ended by its hours (" in line for line in told)
    before, declaration = status_of(files), read_declaration(files)
    assert (before.state, before.budget.ended_by(before.spent)) == ("finished", "hours")
    assert declaration is not None
    assert declaration.ended_by == "hours"
    assert 1 <= declaration.trials_per_arm < 1000
    assert not any("the search ended" in line for line in study(tmp_path, 0.004))  # nothing is left to do
    study(tmp_path, 0.02)
    after = status_of(files)
    assert after.state == "finished"
    assert after.ended > before.ended
