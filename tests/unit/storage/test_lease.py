"""Two drivers on one storage: the second is refused, unless the first has gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace

import pytest

from sdl_study.errors import UserError
from sdl_study.record.holder import Holder
from sdl_study.storage import lease as lease_module
from sdl_study.storage.lease import LEASES, Lease, LeaseLost
from sdl_study.storage.place import Place


def lease_of(place: Place, lost: threading.Event | None = None) -> Lease:
    return Lease(place, (lost or threading.Event()).set)


def leave_behind(place: Place, holder: Holder, processes: str | None = None) -> None:
    found = lease_module._processes() if processes is None else processes
    content = json.dumps({**asdict(holder), "processes": found}).encode()
    place.put(f"{LEASES}/other.json", content)


def ended_process() -> Holder:
    """One of this machine that ran a moment ago."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return replace(Holder.this_process(), pid=done.pid)


def test_a_second_driver_is_refused_in_one_line_and_leaves_nothing(storage: Place) -> None:
    first = lease_of(storage)
    first.take()
    with pytest.raises(UserError) as raised:
        lease_of(storage).take()
    told = str(raised.value)
    assert told.startswith(
        f"{storage.url}: another process runs this study ({os.uname().nodename}, process {os.getpid()}"
    )
    assert "the study is free again 60 s after its last sign (0 s ago)" in told
    assert "\n" not in told
    assert len(storage.list(LEASES)) == 1
    first.leave()
    third = lease_of(storage)
    third.take()
    third.leave()
    assert storage.list(LEASES) == {}


def test_a_killed_driver_of_this_machine_is_gone_at_once(storage: Place) -> None:
    leave_behind(storage, ended_process())
    taken = lease_of(storage)
    taken.take()
    taken.leave()
    assert storage.list(LEASES) == {}


@pytest.mark.parametrize(
    ("holder", "processes"),
    [(replace(Holder.this_process(), host="elsewhere"), None), (ended_process(), "pid:[of a container]")],
)
def test_a_driver_that_cannot_be_looked_at_is_gone_after_a_while(
    storage: Place, holder: Holder, processes: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(storage, holder, processes)
    with pytest.raises(UserError, match="another process runs this study"):
        lease_of(storage).take()
    monkeypatch.setattr(lease_module, "STALE_SECONDS", -1.0)
    taken = lease_of(storage)
    taken.take()
    taken.leave()


def test_who_was_not_heard_for_too_long_finds_out_before_it_writes(
    storage: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = threading.Event()
    slept = lease_of(storage, lost)
    slept.take()
    slept.check()
    monkeypatch.setattr(lease_module, "STALE_SECONDS", -1.0)
    other = lease_of(storage)
    other.take()
    monkeypatch.setattr(lease_module, "_SURE_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            slept.check()
    assert slept.lost
    slept.leave()
    other.check()  # it is still there
    other.leave()


def test_a_lease_is_renewed_and_its_loss_is_told(storage: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_RENEW_SECONDS", 0.05)
    lost = threading.Event()
    taken = lease_of(storage, lost)
    taken.take()
    assert not lost.wait(0.3)
    (name,) = storage.list(LEASES)
    while not lost.wait(0.05):  # a renewal may be on its way
        storage.remove(f"{LEASES}/{name}")
    assert taken.lost
