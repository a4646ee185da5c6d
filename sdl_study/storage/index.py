"""The index of a folder on the storage: every file's path, and which objects are its content.

An object is named by the SHA-256 of its content, ``objects/SHA``. A file that only grows has several, one after the
other, so that what was added is all that has to be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from sdl_study.errors import UserError
from sdl_study.files import written_whole
from sdl_study.storage.place import Place, StorageError

INDEX = "index.json"
OBJECTS = "objects"
FORMAT_VERSION = 1
_FETCHES = 3


@dataclass(frozen=True)
class Piece:
    """An object: the SHA-256 of its content, and its size in bytes."""

    sha: str
    size: int

    @property
    def name(self) -> str:
        """Its name on the storage."""
        return f"{OBJECTS}/{self.sha}"


@dataclass(frozen=True)
class Entry:
    """A file: its pieces in order; when it was written (ns), by which it is told from another; who may read it."""

    pieces: tuple[Piece, ...]
    mtime_ns: int
    private: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True)
class Index:
    """A state of a folder.

    Attributes:
        state: a word of this state alone.
        files: by path below the folder.
        about: what else belongs to it.
    """

    state: str
    files: Mapping[str, Entry]
    about: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(files: Mapping[str, Entry], about: Mapping[str, Any]) -> Index:
        """A new state."""
        return Index(secrets.token_hex(8), dict(files), dict(about))

    @property
    def objects(self) -> set[str]:
        """Names of the objects that it needs."""
        return {piece.name for entry in self.files.values() for piece in entry.pieces}

    def to_json(self) -> bytes:
        """As it stands on the storage."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, sort_keys=True).encode()


def read_index(place: Place) -> Index | None:
    """The state of a folder on the storage; None where there is none.

    Raises:
        UserError: it is damaged, or of another version.
        StorageError: the storage does not answer.
    """
    found = place.json(INDEX)
    if found is None:
        return None
    where = f"{place.url}/{INDEX}"
    version = found.get("format_version") if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{where}: format_version {version!r}, this version reads {FORMAT_VERSION}")
    try:
        files = {
            path: Entry(
                tuple(Piece(**piece) for piece in entry["pieces"]), entry["mtime_ns"], entry["private"]
            )
            for path, entry in found["files"].items()
        }
        return Index(found["state"], files, found["about"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{where}: damaged; choose another prefix") from None


def fetch(place: Place, folder: Path, to_end: Callable[[Index, Path], None] | None = None) -> Index:
    """Bring the files of a folder here, whole or not at all.

    A driver that goes on meanwhile may remove what a state needed that was just read: the next one is read then.

    Args:
        place: of the folder on the storage, which has an index.
        folder: where to; it is not there yet.
        to_end: called with the state and the folder of the files before it gets its name.

    Raises:
        UserError: what lies there is not what the index says.
        StorageError: the storage does not answer.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _own_partial(folder)
    try:
        for _ in range(_FETCHES):
            index = read_index(place)
            if index is None:
                break
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(mode=0o700 if index.about.get("private") else 0o777)
            try:
                for path, entry in index.files.items():
                    _fetch_file(place, entry, _inside(partial, path, place))
            except FileNotFoundError:
                continue
            if to_end is not None:
                to_end(index, partial)
            partial.rename(folder)
            return index
        raise StorageError("an object is missing")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _own_partial(folder: Path) -> Path:
    """A name for what this process fetches; what killed ones of this machine have left goes."""
    here = f".{folder.name}.fetched-{socket.gethostname()}-"
    for left in folder.parent.glob(f"{here}*"):
        number = left.name.removeprefix(here)
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return folder.with_name(f"{here}{os.getpid()}")


def _inside(folder: Path, path: str, place: Place) -> Path:
    """A file's path in a folder, which no index leads out of."""
    target = folder / path
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{place.url}/{INDEX}: names a file outside its folder")
    return target


def _fetch_file(place: Place, entry: Entry, target: Path) -> None:
    with written_whole(target, private=entry.private) as file:
        for piece in entry.pieces:
            found = hashlib.sha256()
            for part in place.parts(piece.name):
                found.update(part)
                file.write(part)
            if found.hexdigest() != piece.sha:
                raise UserError(f"{place.url}/{piece.name}: damaged: its content is not what its name says")
    os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
