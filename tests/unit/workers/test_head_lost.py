"""The head of a cluster is gone and the main thread waits for it: the process says so and ends, before Ray ends it."""

from __future__ import annotations

import os

import pytest

from sdl_study.workers import ray_session
from sdl_study.workers.ray_session import GOES_ON, RaySession


class Ended(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> RaySession:
    """A session whose main thread hears nothing of its loss."""

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(ray_session, "_END_SECONDS", 0.01)
    monkeypatch.setattr(ray_session, "_WATCH_SECONDS", 0.01)
    session = RaySession("10.0.0.1:6379", lambda: None)
    session.logs, session.lost = "LOGS", "the head of the cluster at 10.0.0.1"
    return session


def test_it_is_told_in_a_line(lost: RaySession, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Ended, match="1"):
        lost._look_now_and_then()
    gone = "the head of the cluster at 10.0.0.1 does not answer"
    assert capsys.readouterr().err == f"error: Ray went away ({gone}); its logs: LOGS; {GOES_ON}\n"


def test_it_is_told_once(lost: RaySession, capsys: pytest.CaptureFixture[str]) -> None:
    assert lost.went_away() is not None  # the main thread says it, and then hangs
    with pytest.raises(Ended, match="1"):
        lost._look_now_and_then()
    assert capsys.readouterr().err == ""


def test_a_main_thread_that_leaves_is_let(monkeypatch: pytest.MonkeyPatch, lost: RaySession) -> None:
    monkeypatch.setattr(ray_session, "_END_SECONDS", 60.0)
    lost._on_lost = lost._leaving.set
    lost._look_now_and_then()
