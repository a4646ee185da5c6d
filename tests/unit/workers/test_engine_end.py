"""How the engine leaves its groups, its broker and Ray, with Ray's part played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError
from ray.train import FailureConfig

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.workers import engine as engine_module
from sdl_study.workers import lease
from sdl_study.workers.engine import Engine
from sdl_study.workers.job import Job
from sdl_study.workers.places import Places
from sdl_study.workers.slots import Ending
from tests.unit.workers.played_ray import PlayedRay, engine_of


def broker() -> Any:
    remote = SimpleNamespace(remote=lambda *_: None)
    return SimpleNamespace(close=remote)


def one_group(folder: Path, serve: Callable[[], object]) -> Engine:
    """An engine with one group, whose thread does what ``serve`` does."""

    class Played(Engine):
        def _start_groups(self) -> None:
            self.broker = broker()
            self._threads.append(threading.Thread(target=serve, daemon=True))
            self._threads[0].start()

    return Played(1, lambda memory: 1, "all", 1, folder, None, "builtins:print")


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
        with lease.Lease(Job("a", "final", "", "", "", {}, {}, 0), "broker"):
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


def test_a_group_has_no_second_try_inside_ray(tmp_path: Path) -> None:
    """One that cannot be set up counts as one that died: Ray would try again for ever, unheard."""
    trainer = engine_of(tmp_path)._trainer(Places("CPU", 1, 1, "STRICT_PACK"), 0)
    failure = trainer.run_config.failure_config
    assert isinstance(failure, FailureConfig)
    assert (failure.max_failures, failure.controller_failure_limit) == (0, 0)


def ended(folder: Path, ending: Ending) -> tuple[Engine, list[str]]:
    """An engine whose groups came to an end, and what its broker was told."""
    told: list[str] = []
    engine = engine_of(folder)
    engine.broker = SimpleNamespace(abort=SimpleNamespace(remote=told.append))
    engine._ended(ending)
    return engine, told


def test_what_ended_the_groups_ends_every_job_and_is_a_mistake_or_the_machines(
    played: PlayedRay, tmp_path: Path
) -> None:
    engine, told = ended(tmp_path, Ending("a worker group died 5 times"))
    assert (engine.error, told) == ("a worker group died 5 times", ["a worker group died 5 times"])
    with pytest.raises(UserError, match=r"^small: a worker group died 5 times; Ray's logs say why: "):
        engine.check("small")
    engine, _ = ended(tmp_path, Ending("the disk of /studies is full", machine=True))
    with pytest.raises(
        MachineFailure, match=r"^small: the disk of /studies is full; the same command goes on where it was$"
    ):
        engine.check("small")
    engine_of(tmp_path).check("small")  # nothing ended them
