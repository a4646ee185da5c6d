"""Locks on files, on file systems that have them: some network file systems answer that they know none."""

from __future__ import annotations

import errno
import fcntl
import time
from pathlib import Path
from typing import IO, Any

from sdl_study.errors import UserError

# NFS without its lock daemon, Lustre mounted without flock, FUSE file systems, a kernel without the call.
_KNOWS_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EPERM}
_LOOK_SECONDS = 0.2  # for longer nobody holds a lock who only looks at it


def take_lock(file: IO[Any], folder: Path, *, wait: bool) -> bool:
    """Lock an open file until it is closed; returns whether the lock was got.

    Args:
        file: the file that carries the lock.
        folder: what is locked by it, as the user knows it.
        wait: for whoever holds it; otherwise a lock that is held is not got.

    Raises:
        UserError: the file system of the file knows no locks.
    """
    if wait:
        return _locked(file, folder, fcntl.LOCK_EX)
    deadline = time.monotonic() + _LOOK_SECONDS
    while not _locked(file, folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS / 10)
    return True


def is_held(file: IO[Any], folder: Path) -> bool:
    """Whether somebody holds the lock of a file, which may be open for reading alone.

    To see it, a lock that readers share is taken for a moment; ``take_lock`` waits for longer than that.

    Raises:
        UserError: the file system of the file knows no locks.
    """
    if not _locked(file, folder, fcntl.LOCK_SH | fcntl.LOCK_NB):
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _locked(file: IO[Any], folder: Path, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _KNOWS_NO_LOCKS:
            raise
        raise UserError(
            f"{folder}: the file system there knows no locks ({error.strerror}), which keep two processes from "
            "writing at once; choose a folder on a local disk, or have it mounted with locks"
        ) from None
    return True
