"""The folder of Ray's sessions on this machine: private, writable, and short enough for Ray's sockets.

Ray opens the folders it makes to everybody, again with every process that it starts. So they lie inside a folder that
belongs to this user alone, ``sdl-UID`` in the temporary folder, and ``/tmp/ray``, which may be another user's, is not
touched.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from pathlib import Path

from sdl_study.errors import UserError

_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_PROBE_BYTES = 1 << 20
_SHORT = Path("/tmp")
_SHARED_MEMORY = Path("/dev/shm")


def session_root() -> Path:
    """The private folder that Ray is given as its temporary folder; made where it is not there.

    It lies in ``RAY_TMPDIR`` or ``TMPDIR``, where they are set, else in ``/tmp``; a ``TMPDIR`` that is too long for
    sockets, as batch systems make them, counts as not set.

    Raises:
        UserError: no private folder can be had there, it is too long, or shared memory cannot be written.
    """
    _check_shared_memory()
    name, parent = _temporary_folder()
    root = parent / f"sdl-{os.getuid()}"
    shown = f"{name} {parent}" if name else str(parent)
    _check_length(root, shown)
    if not parent.is_dir():
        kind = "is not a folder" if parent.exists() else "is not there"
        raise UserError(
            f"{shown}: {kind}, and Ray needs one for its files; make it, or set RAY_TMPDIR to another"
        )
    try:
        _make_private(root)
        _check_space(root)
    except OSError as error:
        raise UserError(
            f"{shown}: Ray's files cannot be written in it ({error.strerror}); set RAY_TMPDIR to a folder of your own"
        ) from None
    return root


def _check_shared_memory() -> None:
    """Ray puts objects there; where there is little room it takes a disk by itself."""
    if not sys.platform.startswith("linux"):
        return
    try:
        with tempfile.TemporaryFile(dir=_SHARED_MEMORY):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise UserError(
                f"{_SHARED_MEMORY}: Ray's shared memory cannot be written ({error.strerror}); have it mounted, and "
                "writable by everybody"
            ) from None


def _temporary_folder() -> tuple[str, Path]:
    """The variable that names the temporary folder ("" for none), and the folder."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        parent = Path(os.environ.get(name, "")).absolute()
        if os.environ.get(name) and (name == "RAY_TMPDIR" or _excess(parent / f"sdl-{os.getuid()}") <= 0):
            return name, parent
    return "", _SHORT


def _excess(root: Path) -> int:
    """By how many bytes the longest socket of a session in a folder is too long."""
    session = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    return len(os.fsencode(root / "ray" / session / "sockets" / "plasma_store")) - _LONGEST_SOCKET


def _check_length(root: Path, shown: str) -> None:
    excess = _excess(root)
    if excess > 0:
        length = len(os.fsencode(root.parent))
        raise UserError(
            f"{shown}: is too long for Ray's sockets ({length} bytes, at most {length - excess}); set RAY_TMPDIR to "
            "a shorter folder"
        )


def _make_private(root: Path) -> None:
    """The folder, this user's alone; what somebody else has put under its name is not used."""
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(
            f"{root}: belongs to another user or is not a folder; set RAY_TMPDIR to a folder of your own"
        )
    root.chmod(0o700)


def _check_space(root: Path) -> None:
    """A full disk or quota is told now, not by what a process of Ray says about it."""
    with tempfile.TemporaryFile(dir=root) as probe:
        probe.write(b"\0" * _PROBE_BYTES)
        probe.flush()
        os.fsync(probe.fileno())
