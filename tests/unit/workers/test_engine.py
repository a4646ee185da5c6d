"""The engine and its Ray session, with Ray's part played: whose its files are, how it is watched and left."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError
from ray.train import FailureConfig

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.workers import engine as engine_module
from sdl_study.workers import lease, ray_session
from sdl_study.workers.engine import Engine
from sdl_study.workers.job import Job
from sdl_study.workers.ray_session import RaySession

SLEEP = "import time; time.sleep(60)"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class PlayedRay:
    """What ``ray.init`` does to the disk and starts, and whether Ray was left as its library wants it."""

    def __init__(self, folder: Path) -> None:
        self.temporary, self.session = folder, folder / "session_1"
        self.started: list[subprocess.Popen[bytes]] = []
        self.shut_down = self.must_leave = 0
        self.fails: BaseException | None = None
        self.asked: Callable[..., Any] = lambda *_, **__: 0

    def init(self, **_: Any) -> SimpleNamespace:
        if self.fails is not None:
            raise self.fails
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.temporary = Path(os.environ["RAY_TMPDIR"]) if "RAY_TMPDIR" in os.environ else self.temporary
        for made in (self.session, self.session / "logs", self.session / "sockets"):
            made.mkdir(parents=True)
            made.chmod(0o777)
        (self.session / "logs" / "worker.out").write_text("printed")
        self.started = [subprocess.Popen([sys.executable, "-c", SLEEP]) for _ in range(2)]
        return SimpleNamespace(address_info={"session_dir": str(self.session)})

    def shutdown(self) -> None:
        self.shut_down += 1
        self.end()

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()

    def get(self, *given: Any, **more: Any) -> Any:
        return self.asked(*given, **more)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedRay]:
    played = PlayedRay(tmp_path / "ray")
    monkeypatch.setattr(ray, "init", played.init)
    monkeypatch.setattr(ray, "shutdown", played.shutdown)
    monkeypatch.setattr(ray, "get", played.get)
    monkeypatch.setattr(ray_session, "quiet_environment", dict)
    monkeypatch.setattr(engine_module, "quiet_environment", dict)
    monkeypatch.setattr(ray_session, "_VITAL", {psutil.Process().name(): None})  # both children are "raylets"

    def must_leave() -> None:
        played.must_leave += 1

    monkeypatch.setattr(ray_session, "must_leave_at_once", must_leave)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        yield played
    played.end()


def engine_of(folder: Path, address: str | None = None, **more: Any) -> Engine:
    return Engine(1, "all", 1, folder, address, "builtins:print", **more)


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


def broker() -> Any:
    remote = SimpleNamespace(remote=lambda *_: None)
    return SimpleNamespace(close=remote, steps=remote, abort=remote)


def one_group(folder: Path, serve: Callable[[], object]) -> Engine:
    """An engine with one group, whose thread does what ``serve`` does."""

    class Played(Engine):
        def _start_groups(self) -> None:
            self.broker = broker()
            self._threads.append(threading.Thread(target=serve, daemon=True))
            self._threads[0].start()

    return Played(1, "all", 1, folder, None, "builtins:print")


def test_ray_is_not_shut_down_under_a_thread_that_may_ask_it(
    played: PlayedRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_IDLE_SECONDS", 0.2)
    over = threading.Event()
    with one_group(tmp_path, lambda: over.wait(30.0)):
        pass
    assert (played.shut_down, played.must_leave) == (0, 1)
    assert not psutil.pid_exists(played.started[0].pid)  # ended, though nobody shut it down
    over.set()


@pytest.mark.parametrize("seconds", [0.5, 30.0])
def test_a_lease_is_waited_for_as_a_group_is(
    seconds: float, played: PlayedRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption leaves threads behind that wait for the end of their jobs."""
    monkeypatch.setattr(engine_module, "_IDLE_SECONDS", 2.0)
    monkeypatch.setattr(lease.ray, "get_actor", lambda *_, **__: lease_broker())
    over = threading.Event()

    def job() -> None:
        with lease.Lease(Job("a", "final", "", "", "", {}, {}, 0)):
            over.wait(seconds)

    thread = threading.Thread(target=job)
    with one_group(tmp_path, lambda: None):
        thread.start()
        time.sleep(0.1)
    assert (played.shut_down, played.must_leave) == ((1, 0) if seconds < 2.0 else (0, 1))
    over.set()
    thread.join()


def lease_broker() -> Any:
    remote = SimpleNamespace(remote=lambda *_: None)
    return SimpleNamespace(submit=remote, release=remote)


def test_ray_is_shut_down_once_its_threads_ended(played: PlayedRay, tmp_path: Path) -> None:
    with one_group(tmp_path, lambda: time.sleep(0.3)) as engine:
        pass
    assert not engine._threads[0].is_alive()
    assert (played.shut_down, played.must_leave) == (1, 0)


def died(*_: Any, **__: Any) -> None:
    raise ActorDiedError


def stuck(*_: Any, **__: Any) -> None:
    raise GetTimeoutError


@pytest.mark.parametrize("asked", [died, stuck])
def test_a_broker_that_is_dead_at_the_end_hides_nothing(
    asked: Callable[..., None], played: PlayedRay, tmp_path: Path
) -> None:
    def command() -> None:
        with one_group(tmp_path, lambda: None):
            played.asked = asked
            raise UserError("the real one")

    with pytest.raises(UserError, match="the real one"):
        command()
    assert (played.shut_down, played.must_leave) == (1, 0)


def test_a_broker_that_dies_is_told_and_its_threads_end_silently(
    played: PlayedRay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played.asked = died
    engine = engine_of(tmp_path)
    engine.broker = broker()
    engine._serve_slot(0)
    assert engine.error == "the broker of the worker groups went away (ActorDiedError)"
    closing = engine_of(tmp_path)
    closing.broker = broker()
    closing._closing.set()
    closing._serve_slot(0)
    assert closing.error is None
    assert capsys.readouterr() == ("", "")


def test_a_group_that_cannot_be_set_up_counts_as_a_death(
    played: PlayedRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(tmp_path)
    engine.device, engine.workers = "CPU", 1
    failure = engine._trainer(0, 0).run_config.failure_config
    assert isinstance(failure, FailureConfig)
    assert (failure.max_failures, failure.controller_failure_limit) == (0, 0)

    class Trainer:
        def fit(self) -> None:
            raise RuntimeError("no process group")

    aborted: list[str] = []
    engine.broker = broker()
    engine.broker.abort = SimpleNamespace(remote=aborted.append)
    monkeypatch.setattr(engine, "_trainer", lambda *_: Trainer())
    engine._serve_slot(0)
    assert aborted == ["a worker group died 3 times without any progress (RuntimeError)"]
    assert engine.error == aborted[0]
