"""The engine's Ray session, with Ray's part played: whose its logs are and where they lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.workers import engine as engine_module
from sdl_study.workers.engine import Engine


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``ray.init`` does to the disk: folders opened to all, logs as the umask says."""
    folder = tmp_path / "ray" / "session_1"

    def init(**_: Any) -> SimpleNamespace:
        for made in (folder.parent, folder, folder / "logs"):
            made.mkdir()
            made.chmod(0o777)
        (folder / "logs" / "worker.out").write_text("printed")
        return SimpleNamespace(address_info={"session_dir": str(folder)})

    monkeypatch.setattr(engine_module.ray, "init", init)
    monkeypatch.setattr(engine_module, "quiet_environment", dict)
    monkeypatch.setattr(Engine, "_start_groups", lambda self: None)
    return folder


def entered(folder: Path, address: str | None) -> Engine:
    before = os.umask(0o022)
    try:
        engine = Engine(1, "all", 1, folder, address, "builtins:print").__enter__()
        assert os.umask(0o022) == 0o022  # as it was
    finally:
        os.umask(before)
    return engine


@pytest.mark.parametrize("address", [None, "local"])
def test_the_logs_of_an_own_cluster_are_its_users_alone(
    address: str | None, session: Path, tmp_path: Path
) -> None:
    engine = entered(tmp_path, address)
    assert mode(session / "logs" / "worker.out") == 0o600
    assert mode(session) == 0o700
    assert mode(session.parent) == 0o777  # shared with other users' sessions
    assert engine.logs == str(session / "logs")


def test_a_cluster_that_is_joined_is_left_as_it_is(session: Path, tmp_path: Path) -> None:
    engine = entered(tmp_path, "auto")
    assert mode(session / "logs" / "worker.out") == 0o644
    assert mode(session) == 0o777
    assert engine.logs == f"{session}/logs on each machine of the cluster"


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_the_umask_comes_back_and_a_missing_cluster_is_told(
    address: str | None, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise ConnectionError("no cluster")

    monkeypatch.setattr(engine_module.ray, "init", init)
    before = os.umask(0o022)
    os.umask(before)
    told = ConnectionError if address is None else UserError
    with pytest.raises(told, match="no"):
        Engine(1, "all", 1, tmp_path, address, "builtins:print").__enter__()
    assert os.umask(before) == before
