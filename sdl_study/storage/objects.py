"""The objects of a folder on the storage: what is there, what is added, what nobody needs any more."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from sdl_study.record.journal_file import end_of_last_line
from sdl_study.storage.index import OBJECTS, Entry, Piece
from sdl_study.storage.place import Place

_CHUNK = 1 << 22
_GROWS = (".log", ".jsonl")


class Objects:
    """Writes the content of files, each content once, and removes what no state needs.

    Two threads may write at once; what one of them counts on while its state is not there yet, the other leaves.

    Args:
        place: of the folder on the storage; it is asked what is there.

    Raises:
        StorageError: the storage does not answer.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._there = {f"{OBJECTS}/{name}": found.size for name, found in place.list(OBJECTS).items()}
        self._held: dict[int, set[str]] = {}
        self._lock = threading.Lock()

    def entry(self, path: Path, before: Entry | None, goes_on: Callable[[], None]) -> Entry | None:
        """A file as it is now, its content written; as it was before, where it is being changed or has gone.

        Args:
            path: the file.
            before: as it was; a file with its size and time is taken for the same.
            goes_on: called now and then; raises where there is no time left.

        Raises:
            StorageError: it could not be written.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            status = os.fstat(file.fileno())
            grows = path.suffix in _GROWS
            size = end_of_last_line(file, status.st_size) if grows else status.st_size
            if before is not None and (before.size, before.mtime_ns) == (size, status.st_mtime_ns):
                self._hold(before.pieces)
                return before
            pieces = self._pieces(file, size, before if grows else None, grows, goes_on)
            after = os.fstat(file.fileno())
            if not grows and (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                return before  # somebody writes into it: the next state has it
            return Entry(pieces, status.st_mtime_ns, status.st_mode & 0o077 == 0)

    def _pieces(
        self, file: IO[bytes], size: int, before: Entry | None, grows: bool, goes_on: Callable[[], None]
    ) -> tuple[Piece, ...]:
        """The file's content as objects. Of one that grows, what was added joins the pieces before it that are no
        longer: so there are few of them, and a byte is written some ten times, however often lines are added."""
        kept = list(before.pieces) if before is not None and before.size <= size else []
        start = sum(piece.size for piece in kept)
        while kept and start < size and kept[-1].size <= size - start:
            start -= kept.pop().size
        self._hold(kept)
        if start == size:
            return tuple(kept)
        piece = Piece(_digest(file, start, size - start, goes_on), size - start)
        self._hold([piece])
        if self._there.get(piece.name) != piece.size:
            self._place.put_file(piece.name, file, start, piece.size, goes_on)
            self._there[piece.name] = piece.size
        return (*kept, piece)

    def _hold(self, pieces: Iterable[Piece]) -> None:
        with self._lock:
            self._held.setdefault(threading.get_ident(), set()).update(piece.name for piece in pieces)

    def release(self) -> None:
        """What this thread counted on is in a state now, or is not needed."""
        with self._lock:
            self._held.pop(threading.get_ident(), None)

    def remove_all_but(self, needed: set[str]) -> None:
        """Remove the objects that neither the state needs which this thread has written nor another thread.

        Raises:
            StorageError: the storage does not answer; what is left is removed the next time.
        """
        with self._lock:
            others = (held for thread, held in self._held.items() if thread != threading.get_ident())
            gone = self._there.keys() - needed.union(*others)
            sizes = {name: self._there.pop(name) for name in gone}
        while sizes:
            name = next(iter(sizes))
            try:
                self._place.remove(name)
            except BaseException:
                self._there.update(sizes)
                raise
            del sizes[name]


def _digest(file: IO[bytes], start: int, size: int, goes_on: Callable[[], None]) -> str:
    found = hashlib.sha256()
    file.seek(start)
    while size > 0 and (part := file.read(min(size, _CHUNK))):
        goes_on()
        found.update(part)
        size -= len(part)
    return found.hexdigest()
