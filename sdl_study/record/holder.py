"""Which process runs a study: it says so in the lock that it holds, for whoever looks at the study or stops it.

The lock alone says that a study runs; what stands in its file says who. A process that was killed leaves its words
behind and the lock free, so the words count only while the lock is held.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sdl_study.locks import is_held
from sdl_study.record.files import StudyFiles

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TICKS = 0, 19
"""Fields of /proc/PID/stat, counted behind the program's name (proc(5) counts these as 3 and 22)."""


@dataclass(frozen=True)
class Holder:
    """The driver of a study.

    Attributes:
        host: name of its machine.
        pid: its process there.
        boot: which start of that machine; "" where the system does not tell.
        ticks: when the process started, in clock ticks after that: a number that comes back is another process.
        since: when it took the study, ISO 8601 in UTC.
    """

    host: str
    pid: int
    boot: str
    ticks: int
    since: str

    @staticmethod
    def this_process() -> Holder:
        """Ourselves, now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Holder(os.uname().nodename, os.getpid(), _boot(), _ticks(os.getpid()) or 0, now)

    @property
    def is_here(self) -> bool:
        """Whether it was started on this machine, since this start of it."""
        return (self.host, self.boot) == (os.uname().nodename, _boot())

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs on this machine."""
        return self.is_here and _ticks(self.pid) == self.ticks

    def seconds(self, now: datetime) -> float:
        """For how long it has had the study."""
        return max(0.0, (now - datetime.fromisoformat(self.since)).total_seconds())


@dataclass(frozen=True)
class Held:
    """Whether a process holds a study, and who that is; ``by`` is None of a version that did not say."""

    held: bool
    by: Holder | None


def note_holder(lock: IO[str]) -> None:
    """Say in the lock, which this process holds, that it does."""
    lock.truncate(0)
    lock.write(json.dumps(asdict(Holder.this_process())) + "\n")
    lock.flush()


def forget_holder(lock: IO[str]) -> None:
    """Say that this process ended in order."""
    lock.truncate(0)


def look_at(files: StudyFiles) -> Held:
    """Who runs a study, and who ran it last if that process did not end in order; nothing is written.

    Raises:
        UserError: the file system of the study knows no locks.
    """
    try:
        with files.lock.open() as file:
            return Held(is_held(file, files.folder), _parse(file.read()))
    except FileNotFoundError:
        return Held(False, None)


def _parse(text: str) -> Holder | None:
    try:
        values: dict[str, Any] = json.loads(text)
        return Holder(**values)
    except (ValueError, TypeError):  # empty, or another version's
        return None


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _ticks(pid: int) -> int | None:
    """When a process of this machine started; None if there is none, or one that has ended and not been buried."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else int(fields[_START_TICKS])
