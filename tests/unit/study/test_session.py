"""A command's session: what ended it is said before the engine closes, and Ray's going away is called by its name."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.study import jobs, session
from sdl_study.study.plan import Plan, make_plan
from sdl_study.workers.events import Event
from sdl_study.workers.job import Job
from tests.unit.study.fakes import small_study


class PlayedEngine:
    """An engine that notes what had been said when it closed."""

    lost: ClassVar[MachineFailure | None] = None
    closed: ClassVar[list[str]] = []
    said: ClassVar[list[Callable[[], str]]] = []

    def __init__(self, *_: Any, on_lost: Callable[[], None], **more: object) -> None:
        self.on_lost = on_lost
        self.folder = Path(_[4])
        type(self).closed, type(self).lost = [], None

    def __enter__(self) -> PlayedEngine:
        assert self.folder.is_dir()
        (self.folder / "state.json").write_text("{}")
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.append(self.said[0]())

    def went_away(self, seconds: float) -> MachineFailure | None:
        return self.lost


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Plan]:
    monkeypatch.setattr(session, "Engine", PlayedEngine)
    monkeypatch.setattr(session, "check_places", lambda *_: None)
    monkeypatch.setattr(session, "load_data", lambda plans: {plan.name: None for plan in plans})
    monkeypatch.setattr(PlayedEngine, "said", [lambda: capsys.readouterr().err])
    yield make_plan(small_study(), tmp_path, "small", {})
    assert not (tmp_path / ".engine").exists()


def ended_by(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, happens: Callable[[PlayedEngine], None]
) -> BaseException:
    """What a command raises whose study is ended by something."""

    def study(plan: Plan, data: object, engines: Any, *_: object) -> None:
        happens(engines.for_plan(plan, data))

    monkeypatch.setattr(session, "_run_study", study)
    with pytest.raises((Exception, KeyboardInterrupt)) as raised:
        session.execute([plan], None, None)
    return raised.value


def test_a_mistake_is_said_before_the_engine_closes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def happens(engine: PlayedEngine) -> None:
        raise UserError("no test labels")

    assert str(ended_by(plan, monkeypatch, happens)) == "no test labels"
    assert PlayedEngine.closed == ["error: no test labels\n"]


@pytest.mark.parametrize("error", [UserError("a group died"), RuntimeError("from Ray"), KeyboardInterrupt()])
def test_a_ray_that_went_away_is_what_is_said(
    error: BaseException, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happens(engine: PlayedEngine) -> None:
        PlayedEngine.lost = MachineFailure("Ray went away")
        raise error

    assert ended_by(plan, monkeypatch, happens) is PlayedEngine.lost
    assert PlayedEngine.closed == ["error: Ray went away\n"]


def test_a_disk_without_room_is_one_line_whatever_was_made_of_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happens(engine: PlayedEngine) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("from Ray") from None

    told = ended_by(plan, monkeypatch, happens)
    assert isinstance(told, MachineFailure)
    assert str(told) == f"the disk of {plan.files.out} is full; the same command goes on where it was"


def test_what_a_killed_command_left_is_removed_and_another_machines_is_not(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    killed, elsewhere = (plan.files.engine / f"{host}-{ended.pid}" for host in (socket.gethostname(), "w1"))
    for left in (killed, elsewhere):
        left.mkdir(parents=True)

    def happens(engine: PlayedEngine) -> None:
        raise UserError(" ".join(sorted(path.name for path in plan.files.engine.iterdir())))

    names = {f"{socket.gethostname()}-{os.getpid()}", elsewhere.name}
    assert set(str(ended_by(plan, monkeypatch, happens)).split()) == names
    assert list(plan.files.engine.iterdir()) == [elsewhere]
    elsewhere.rmdir()
    plan.files.engine.rmdir()


def test_the_watching_thread_wakes_the_main_thread(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def happens(engine: PlayedEngine) -> None:
        PlayedEngine.lost = MachineFailure("Ray went away")
        threading.Timer(0.2, engine.on_lost).start()
        threading.Event().wait(10.0)
        raise AssertionError("slept on")

    assert ended_by(plan, monkeypatch, happens) is PlayedEngine.lost


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_even_if_it_took_ray_too(
    number: signal.Signals, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)

    def happens(engine: PlayedEngine) -> None:
        PlayedEngine.lost = MachineFailure("Ray went away")
        signal.raise_signal(number)

    assert isinstance(ended_by(plan, monkeypatch, happens), KeyboardInterrupt)
    assert PlayedEngine.closed == ["interrupted; the same command goes on where it was\n"]
    assert signal.getsignal(number) is before


def test_an_interruption_waits_for_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A final may have an hour to go; the engine stops it when it closes."""
    over, begun = threading.Event(), threading.Event()

    class LongLease:
        def __enter__(self) -> list[Event]:
            begun.set()
            over.wait(20.0)
            return []

        def __exit__(self, *_: object) -> None: ...

    engine: Any = SimpleNamespace(groups=1, wants=lambda _: None, lease=lambda job: LongLease())
    work = [jobs.Work(Job(name, "final", str(tmp_path / name), "", "", {}, {}, 0)) for name in "ab"]
    main = threading.main_thread().ident or 0
    timer = threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        jobs.run_all(work, engine, lambda *_: None)
    assert begun.is_set()
    assert time.monotonic() - started < 5.0
    over.set()
    timer.join()
