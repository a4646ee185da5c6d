"""A database in which a study ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.tracking.told import told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which a study ended; MLflow takes a second to make one."""
    folder = tmp_path_factory.mktemp("made")
    told(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, as it was before the folder's name changed."""
    target = tmp_path / "copied"
    shutil.copytree(made, target)
    return target
