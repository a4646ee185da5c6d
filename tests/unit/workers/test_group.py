"""A group's loop with the broker's part played: what a job raises becomes the event that it means."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdl_study.workers import group
from sdl_study.workers.events import Done, Epoch, Stopped
from sdl_study.workers.job import Job, JobStopped, Report, SettingFailure

JOB = Job("a", "trial", "folder", "data", "stores", {}, {"name": "sd", "loss": "sd"}, seed=0)


class Remote:
    """A method of an actor."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class Asked:
    """A broker that hands out some jobs and notes what it is told."""

    def __init__(self, *asked: Job | str | None, goes_on: bool = True) -> None:
        queue = deque(asked)
        self.told: list[Any] = []
        self.joined = Remote(lambda group, member: None)
        self.next_job = Remote(lambda group, seconds: queue.popleft())
        self.finish = Remote(lambda key, group, end: self.told.append(end))
        self.halt = Remote(self.told.append)
        self.report = Remote(self._report)
        self._goes_on = goes_on

    def _report(self, key: str, group: int, epoch: Epoch) -> bool:
        self.told.append(epoch)
        return self._goes_on


def serve(broker: Asked, monkeypatch: pytest.MonkeyPatch, run_job: str, jobs: int | None = None) -> list[Any]:
    monkeypatch.setattr(group, "_member", lambda: None)
    monkeypatch.setattr(
        group, "ray", SimpleNamespace(get_actor=lambda *_, **__: broker, get=lambda value: value)
    )
    monkeypatch.setattr(group, "get_device", lambda: torch.device("cpu"))
    threads = torch.get_num_threads()
    try:
        group.serve(
            {
                "group": 0,
                "broker": "played",
                "jobs": jobs,
                "run_job": f"{__name__}:{run_job}",
                "gpu_share": 1.0,
            }
        )
    finally:
        torch.set_num_threads(threads)
    return broker.told


def two_epochs(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    for epoch in (1, 2):
        if not report(Epoch(epoch, {"dev/map": 0.5})):
            raise JobStopped
    return {"objective": 0.5, "device": device.type}


class Diverged(SettingFailure):
    """A failure of the setting under another name."""


def diverges(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise Diverged("the patient said")


def no_memory(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise torch.OutOfMemoryError("the patient said")


def wrong(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise ValueError("the patient said")


def full_disk(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "the patient said")


def lost_mount(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise OSError(errno.ESTALE, "the patient said")


def peer_gone(job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]:
    raise RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer")


def test_epochs_and_the_end_of_every_job_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = serve(Asked(JOB, "idle", JOB, None), monkeypatch, "two_epochs")
    one = [Epoch(1, {"dev/map": 0.5}), Epoch(2, {"dev/map": 0.5}), Done({"objective": 0.5, "device": "cpu"})]
    assert told == one * 2


def test_a_group_for_one_job_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(serve(Asked("idle", JOB, JOB), monkeypatch, "two_epochs", jobs=1)) == 3


def test_a_job_that_is_stopped_gives_its_group_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told = serve(Asked(JOB, JOB, None, goes_on=False), monkeypatch, "two_epochs")
    assert told == [Epoch(1, {"dev/map": 0.5}), Stopped()] * 2


def test_a_failure_of_the_setting_leaves_the_group_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    told = serve(Asked(JOB, JOB, None), monkeypatch, "diverges")
    assert [(end.kind, end.where.split(" at ")[0]) for end in told] == [("setting", "Diverged")] * 2


@pytest.mark.parametrize(
    ("run_job", "kind", "name"),
    [("no_memory", "setting", "OutOfMemoryError"), ("wrong", "bug", "ValueError")],
)
def test_what_one_rank_may_have_raised_alone_is_told_and_ends_the_group(
    run_job: str, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Asked(JOB, JOB, None)
    with pytest.raises(group.JobRaised) as raised:
        serve(broker, monkeypatch, run_job)
    (end,) = broker.told
    assert (end.kind, end.where.split(" at ")[0]) == (kind, name)
    assert "patient" not in f"{end.where} {raised.value}"


def test_a_rank_that_lost_another_one_says_nothing_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Asked(JOB, None)
    with pytest.raises(group.JobRaised, match="another rank"):
        serve(broker, monkeypatch, "peer_gone")
    assert broker.told == []


def test_what_the_machine_did_is_no_end_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Asked(JOB, None)
    with pytest.raises(group.JobRaised, match=r"^OSError.* \(ESTALE\)$"):
        serve(broker, monkeypatch, "lost_mount")
    assert broker.told == []


def test_a_full_disk_is_told_and_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Asked(JOB, None)
    with pytest.raises(group.JobRaised, match=r"^OSError.* \(ENOSPC\)$"):
        serve(broker, monkeypatch, "full_disk")
    assert broker.told == ["the disk of folder is full"]


def test_the_place_of_an_exception_is_the_projects_own_line() -> None:
    with pytest.raises(ValueError, match="Nothing") as raised:
        group.load_object("sdl_study.workers.job:Nothing")
    assert group.describe(raised.value).startswith("ValueError at sdl_study/references.py:")
