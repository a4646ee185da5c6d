"""A study's folder, held by the one driver that works on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.locks import take_lock
from sdl_study.record.files import StudyFiles
from sdl_study.record.holder import forget_holder, note_holder


@contextmanager
def locked(files: StudyFiles) -> Iterator[None]:
    """Hold the study's folder against a second driver.

    Raises:
        UserError: another process holds it, or the file system knows no locks.
    """
    with ExitStack() as undo:
        _make_folders(files.folder, undo)
        if not files.lock.exists():
            undo.callback(files.lock.unlink)
        with files.lock.open("a+") as handle:
            if not take_lock(handle, files.folder, wait=False):
                undo.pop_all()  # what is there is the other process's
                raise UserError(f"{files.folder}: another process runs this study; wait for it or use --name")
            undo.pop_all()
            note_holder(handle)
            try:
                yield
            finally:
                forget_holder(handle)


def _make_folders(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it; ``undo`` takes those away again that were not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        undo.callback(_remove_empty, path)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody else has put something there
        folder.rmdir()
