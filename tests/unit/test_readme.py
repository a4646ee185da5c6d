"""What README.md shows can be run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study import __version__
from sdl_study.own_modules import load_study

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_its_python_runs(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_shows_the_loss_alone() -> None:
    assert any("SimilarityDissimilarityLoss" in block for block in PYTHON_BLOCKS)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_its_commands_exist(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize(
    ("name", "base"), sorted(set(re.findall(r"sdl_study\.run study (\w+)(?: --base (\w+))?", README)))
)
def test_its_studies_exist(name: str, base: str) -> None:
    own = load_study(name, load_study(base) if base else None)
    assert own.name == (f"{base}_{name}" if base else name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)(?=`|\s+#)", README))))
def test_its_make_targets_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w./]+\.(?:py|yaml))`", README))))
def test_its_files_exist(path: str) -> None:
    assert (ROOT / path).is_file()


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [__version__]
