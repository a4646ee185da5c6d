"""What tests of jobs share: a folder with a tiny data set, one for each test in it, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.training.jobs import write_data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a module's jobs, with their data."""
    home = tmp_path_factory.mktemp("home")
    write_data(home / "data")
    return home


@pytest.fixture
def folder(home: Path, request: pytest.FixtureRequest) -> Path:
    """Of one test's jobs."""
    folder = home / request.node.name
    folder.mkdir()
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bitwise the same is the same number of threads, also that of a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
