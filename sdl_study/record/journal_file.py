"""The journal's file: lines of JSON that one driver adds and anybody reads, with no lock of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class JournalFile(BaseJournalBackend):
    """Lines of JSON that are read on from where the last reading ended.

    Optuna's own backend takes a lock by a symbolic link for every line, which some file systems do not have; here
    the driver is alone by its lock on the study, and readers need none.
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self._path, self._writable = path, writable
        self._next, self._offset = 0, 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from a number on; one without its end is not there yet."""
        if log_number_from < self._next:
            self._next, self._offset = 0, 0
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number = self._next
                self._next, self._offset = number + 1, self._offset + len(line)
                if number >= log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines; they are on the disk when this returns."""
        if not self._writable:
            raise RuntimeError("a journal that was opened by read() is never written")
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """A crash or a full disk may have left the last line without its end: what it said was never answered."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content_end = file.seek(0, os.SEEK_END)
        file.truncate(end_of_last_line(file, content_end))


def end_of_last_line(file: Any, end: int, step: int = 1 << 16) -> int:
    """Where the last whole line of an open binary file ends, looked for from ``end`` backwards, in bytes."""
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
