"""A prepared data set for every test of finals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.evaluation.small_final import prepare


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return prepare(tmp_path / "prepared")
