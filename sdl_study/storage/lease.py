"""Which driver has a study on the storage: as the lock of its folder, for machines that share nothing else.

Every driver writes an object of its own and then looks for those of others. Storages answer with what was last
written, so of two drivers at least one sees the other, and none goes on beside one that it sees. Times are the
storage's own: clocks of machines differ.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdl_study.errors import UserError
from sdl_study.record.holder import Holder
from sdl_study.storage.place import Place, StorageError

LEASES = "drivers"
STALE_SECONDS = 60.0
"""A driver that has written nothing for so long has gone."""
_RENEW_SECONDS = 10.0
_SURE_SECONDS = 30.0
"""Who has not renewed its lease for so long does so before it writes anything else."""
_PROCESSES = Path("/proc/self/ns/pid")


class LeaseLost(StorageError):
    """Another driver took the study, for this one was not heard for too long."""


class Lease:
    """A driver's hold on a study on the storage, from ``take`` to ``leave``.

    Args:
        place: of the study.
        on_lost: called, once, from a thread of its own, when another driver has taken it.
    """

    def __init__(self, place: Place, on_lost: Callable[[], None]) -> None:
        self._place, self._on_lost = place, on_lost
        self._name = f"{LEASES}/{secrets.token_hex(8)}.json"
        self._content = json.dumps({**asdict(Holder.this_process()), "processes": _processes()}).encode()
        self._renewed = 0.0
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.lost = False

    def take(self) -> None:
        """Take the study.

        Raises:
            UserError: another driver has it.
            StorageError: the storage does not answer.
        """
        self._put()
        found = self._place.list(LEASES)
        own = self._name.removeprefix(f"{LEASES}/")
        if own not in found:
            raise StorageError("does not list what was just written")
        now = found[own].time
        for name, other in found.items():
            if name == own:
                continue
            silent, holder = now - other.time, self._place.json(f"{LEASES}/{name}")
            if holder is not None and silent <= STALE_SECONDS and not _has_ended(holder):
                self._place.remove(self._name)
                raise UserError(_refusal(self._place, holder, silent))
            self._place.remove(f"{LEASES}/{name}")
        threading.Thread(target=self._renew, name="storage lease", daemon=True).start()

    def _put(self) -> None:
        before = time.monotonic()
        self._place.put(self._name, self._content)
        self._renewed = before

    def _renew(self) -> None:
        while not self._end.wait(_RENEW_SECONDS):
            try:
                self.renew()
            except LeaseLost:
                self._on_lost()
                return
            except StorageError:
                continue  # whoever brings files says so; a lease that is not renewed is looked at before it is used

    def renew(self) -> None:
        """Say that we go on.

        Raises:
            LeaseLost: another driver has the study.
            StorageError: the storage does not answer.
        """
        with self._lock:
            if self.lost or self._place.get(self._name) is None:
                self.lost = True
                raise LeaseLost("another driver took the study")
            self._put()

    def check(self) -> None:
        """We have the study, or find out that we have not.

        Raises:
            LeaseLost: another driver has it.
            StorageError: the storage does not answer.
        """
        if self.lost or time.monotonic() - self._renewed > _SURE_SECONDS:
            self.renew()

    def stop(self) -> None:
        """Renew it no more."""
        self._end.set()

    def leave(self) -> None:
        """Leave the study to others.

        Raises:
            StorageError: the storage does not answer; the lease ends by itself.
        """
        self.stop()
        with self._lock:
            if not self.lost:
                self._place.remove(self._name)


def _refusal(place: Place, holder: dict[str, Any], silent: float) -> str:
    return (
        f"{place.url}: another process runs this study ({holder.get('host')}, process {holder.get('pid')}, since "
        f"{holder.get('since')}); wait for it or use --name; one that has gone is heard no more, and the study is free "
        f"again {STALE_SECONDS:.0f} s after its last sign ({max(0.0, silent):.0f} s ago)"
    )


def _processes() -> str:
    """Which numbering of processes ours is in: a container has its own."""
    return str(_PROCESSES.readlink()) if _PROCESSES.is_symlink() else ""


def _has_ended(content: dict[str, Any]) -> bool:
    """Whether it was a process of this machine, which is not there any more."""
    try:
        holder = Holder(**{key: value for key, value in content.items() if key != "processes"})
    except TypeError:
        return False
    return holder.is_here and content.get("processes") == _processes() and not holder.is_alive
