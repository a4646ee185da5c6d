"""A study on tiny data without a cluster, opened; what its finals come to is played."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sdl_study.study.driver import Driver
from tests.integration.tiny import tiny_data
from tests.unit.study.played_finals import opened


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and an empty MLflow database: making them takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    tiny_data(folder / "prepared")
    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A folder of studies of one's own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def driver(home: Path) -> Iterator[Driver]:
    """A study of three arms and two final seeds, opened."""
    with opened(home) as made:
        yield made
