"""Temporary folders beside an output: removed at the end, at a signal, and by the next preparation."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from sdl_study.errors import UserError

# What only writing runs into; the other disk errors belong to the output when their path does.
_WRITE_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS}
_DISK_ERRORS = _WRITE_ERRORS | {errno.EACCES, errno.EPERM}
_MACHINE = re.sub(r"[^\w.-]", "_", os.uname().nodename)
_UNFINISHED: set[Path] = set()


@contextmanager
def temporary_folder(out: Path) -> Iterator[Path]:
    """A new folder beside ``out`` for work in progress, for its owner alone, removed at the end.

    Those of the same ``out`` whose process is gone are removed first, and at the end the parent folders
    that were made for it and hold nothing.

    Raises:
        UserError: the folder that is to hold ``out`` cannot be written, or what is written in the block.
    """
    partial = out.parent / f".{out.name}.partial-{_MACHINE}-{os.getpid()}"
    new_parents: list[Path] = []
    try:
        try:
            new_parents += [folder for folder in out.absolute().parents if not folder.exists()]
            out.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(out)
            _UNFINISHED.add(partial)
            partial.mkdir(mode=0o700)
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror}") from None
        try:
            yield partial
        except (OSError, pl.exceptions.PolarsError) as error:
            if (number := os_error_number(error)) in _DISK_ERRORS and _is_about(error, number, partial, out):
                raise UserError(f"{out}: cannot be written: {_reason(error, number)}") from None
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _UNFINISHED.discard(partial)
        for folder in new_parents:
            with suppress(OSError):  # it holds the output
                folder.rmdir()


def discard_unfinished() -> None:
    """Remove all temporary folders of this process, for one that is about to be ended by a signal.

    Each is renamed first, so that a thread that goes on working can neither put a file into it nor rename
    half of it to the output.
    """
    for partial in list(_UNFINISHED):
        stopped = partial.with_name(f"{partial.name}.stopped")
        with suppress(OSError):  # finished in this moment
            partial.rename(stopped)
        shutil.rmtree(stopped, ignore_errors=True)


def os_error_number(error: Exception) -> int | None:
    """The system's error number; polars has it only in the text of its own exceptions."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _reason(error: Exception, number: int) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or os.strerror(number)


def _is_about(error: Exception, number: int, partial: Path, out: Path) -> bool:
    """Whether it is the output that cannot be written, rather than an input that cannot be read."""
    name = error.filename if isinstance(error, OSError) else None
    if name is None and (found := re.search(r"\(os error \d+\): (.+)", str(error))):
        name = found[1]  # polars gives the path in its text alone
    if name is None or isinstance(name, int):
        return number in _WRITE_ERRORS
    path = Path(os.fsdecode(name)).absolute()
    return any(path.is_relative_to(folder.absolute()) for folder in (partial, out))


def _remove_abandoned(out: Path) -> None:
    """Remove what processes of this machine that are gone (killed, no power) left of the same output."""
    pattern = re.compile(rf"\.{re.escape(out.name)}\.partial-(?:(?P<machine>.+)-)?(?P<pid>\d+)(?:\.stopped)?")
    for path in out.parent.iterdir():
        found = pattern.fullmatch(path.name)
        # Names without a machine are of earlier versions.
        if found and found["machine"] in (None, _MACHINE) and not _in_use(path, int(found["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def _in_use(path: Path, pid: int) -> bool:
    """Whether the process ``pid`` works in ``path``; in a container, one number comes back at every start."""
    if pid == os.getpid():
        return path in _UNFINISHED
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
