"""Which code runs: the commit of a clone, or a digest of the sources where there is no history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study.version import code_digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The package as `ray up` brings it to a machine: without .git."""
    shutil.copytree(ROOT / "sdl_study", tmp_path / "sdl_study", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def said(folder: Path) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "sdl_study.version"], cwd=folder, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_a_copy_without_history_is_named_by_its_sources(copied: Path) -> None:
    version, sources = said(copied)
    assert sources == f"sources.{code_digest()[:12]}"
    assert version.endswith(f"+{sources}")


def test_the_digest_is_of_names_and_contents(copied: Path) -> None:
    _, before = said(copied)
    (copied / "sdl_study" / "notes.txt").write_text("no code")
    assert said(copied)[1] == before
    (copied / "sdl_study" / "seeds.py").rename(copied / "sdl_study" / "sown.py")
    _, renamed = said(copied)
    with (copied / "sdl_study" / "sown.py").open("a") as file:
        file.write("\n")
    assert len({before, renamed, said(copied)[1]}) == 3


def test_a_clone_is_named_by_its_commit(copied: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=copied, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=copied, capture_output=True, text=True, check=True
    )
    version, sources = said(copied)
    assert version.endswith(f"+{head.stdout[:12]}")
    (copied / "sdl_study" / "seeds.py").write_text("")
    assert said(copied)[0].endswith("-dirty")
    assert said(copied)[1] != sources
