"""The engine and its Ray session, with Ray's part played: whose its files are, how it is watched."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import psutil
import pytest

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.study.signals import Interruptions
from sdl_study.workers import ray_session
from sdl_study.workers.engine import Engine
from sdl_study.workers.ray_session import RaySession
from tests.unit.workers.played_ray import PlayedRay, engine_of


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def entered(folder: Path, address: str | None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(Engine, "_start_groups", lambda self: None)
    before = os.umask(0o022)
    try:
        engine = engine_of(folder, address).__enter__()
        assert os.umask(0o022) == 0o022  # as it was
    finally:
        os.umask(before)
    return engine


@pytest.mark.parametrize("address", [None, "local"])
def test_the_files_of_an_own_cluster_are_its_users_alone(
    address: str | None, played: PlayedRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, handler = os.environ["RAY_TMPDIR"], signal.getsignal(signal.SIGTERM)
    engine = entered(tmp_path, address, monkeypatch)
    assert played.temporary.parent == Path(before)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert mode(played.temporary) == 0o700  # whatever Ray does to its folders in it
    assert mode(played.session / "logs" / "worker.out") == 0o600
    assert engine.logs == str(played.session / "logs")
    artifact = played.session / "artifacts" / "state.json"
    artifact.parent.mkdir()
    artifact.write_text("{}")
    artifact.chmod(0o644)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (played.session / "link").symlink_to(elsewhere)
    engine.__exit__(None, None, None)
    for path in (played.session, *(path for path in played.session.rglob("*") if not path.is_symlink())):
        assert mode(path) & 0o077 == 0, path
    assert mode(elsewhere) == 0o755
    assert (played.shut_down, played.must_leave) == (1, 0)
    assert os.environ["RAY_TMPDIR"] == before


def test_a_cluster_that_is_joined_is_left_as_it_is(
    played: PlayedRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR")
    engine = entered(tmp_path, "auto", monkeypatch)
    engine.__exit__(None, None, None)
    assert mode(played.session / "logs" / "worker.out") == 0o644
    assert mode(played.session) == 0o777
    assert engine.logs == f"{played.session}/logs on each machine of the cluster"


@pytest.mark.parametrize(
    ("address", "fails", "told", "words"),
    [
        (None, RuntimeError("text"), MachineFailure, "Ray does not start here (RuntimeError); its logs: "),
        (None, OSError("text"), MachineFailure, "Ray does not start here (OSError); its logs: "),
        (None, SystemExit(15), KeyboardInterrupt, ""),
        ("10.0.0.1:6379", ConnectionError("text"), UserError, "--address 10.0.0.1:6379: no Ray cluster answers"),
    ],
)  # fmt: skip
def test_a_ray_that_does_not_start(
    address: str | None,
    fails: BaseException,
    told: type[BaseException],
    words: str,
    played: PlayedRay,
    tmp_path: Path,
) -> None:
    played.fails = fails
    environment, umask = os.environ["RAY_TMPDIR"], os.umask(0o022)
    os.umask(umask)
    with pytest.raises(told) as raised:
        engine_of(tmp_path, address).__enter__()
    assert str(raised.value).startswith(words)
    assert "text" not in str(raised.value)
    assert (os.environ["RAY_TMPDIR"], os.umask(umask)) == (environment, umask)
    assert played.must_leave == (told is not UserError)


def test_a_signal_that_ray_takes_while_it_starts_reaches_the_handler_that_was_there(
    played: PlayedRay, tmp_path: Path
) -> None:
    played.fails = SystemExit(15)
    signals = Interruptions()
    with signals.in_order():
        with pytest.raises(KeyboardInterrupt):
            engine_of(tmp_path).__enter__()
        assert signals.by_signal
        signals.interrupt()  # what is interrupted is not interrupted once more


def test_a_ray_that_goes_away_is_noticed_once(played: PlayedRay, tmp_path: Path) -> None:
    lost = threading.Event()
    session = RaySession(None, lost.set)
    session.start()
    assert session.went_away() is None
    assert not lost.wait(0.6)
    played.started[0].kill()
    assert lost.wait(5.0)
    told = str(session.went_away())
    assert told.startswith(
        f"Ray went away ({psutil.Process().name()} ended); its logs: {session.logs}; the same"
    )
    session.leave(in_order=True)
    assert (played.shut_down, played.must_leave) == (0, 1)  # its library would wait for what is gone
    assert not psutil.pid_exists(played.started[1].pid)  # ended, though nobody shut it down


def test_a_ray_that_is_left_did_not_go_away(played: PlayedRay) -> None:
    lost = threading.Event()
    session = RaySession(None, lost.set)
    session.start()
    session.leave(in_order=True)
    assert not lost.wait(0.6)
    assert session.went_away() is None


def test_the_head_of_a_cluster_that_answers_no_more_is_told(
    played: PlayedRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "_ASK_SECONDS", 0.05)
    monkeypatch.setattr(ray_session, "_HEAD_SECONDS", 0.5)
    lost = threading.Event()
    session = RaySession("10.0.0.1:6379", lost.set)
    session.start()
    assert not lost.wait(0.8)
    played.head.close()
    assert lost.wait(5.0)
    told = str(session.went_away())
    assert told.startswith("Ray went away (the head of the cluster at 127.0.0.1 does not answer); its logs: ")
    session.leave(in_order=True)
    assert (played.shut_down, played.must_leave) == (0, 1)
