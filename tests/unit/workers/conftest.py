"""A played Ray in the place of the real one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from sdl_study.workers import engine as engine_module
from sdl_study.workers import ray_session, ray_start
from tests.unit.workers.played_ray import PlayedRay


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedRay]:
    played = PlayedRay(tmp_path / "ray")
    monkeypatch.setattr(ray, "init", played.init)
    monkeypatch.setattr(ray, "shutdown", played.shutdown)
    monkeypatch.setattr(ray, "get", played.get)
    monkeypatch.setattr(ray_start, "quiet_environment", dict)
    monkeypatch.setattr(engine_module, "quiet_environment", dict)
    monkeypatch.setattr(ray_session, "_VITAL", {psutil.Process().name(): None})  # both children are "raylets"

    def must_leave() -> None:
        played.must_leave += 1

    monkeypatch.setattr(ray_session, "must_leave_at_once", must_leave)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        yield played
    played.end()
