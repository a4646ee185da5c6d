"""The mirror of a study's folder on the storage: which files, and in which order they are looked at.

A study goes on while its files are read, so the order is what makes a state of them: what tells of other files is
listed before these and read after them. Outcomes of jobs and the answer are listed first; whatever they speak of was
there before them. The record (journal, declaration, ledger) is read last: it may know more than the files beside it,
as after a crash, and never less. A checkpoint is thus never ahead of the journal by more than the epoch that the
worker has just told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdl_study.files import write_json
from sdl_study.record.files import StudyFiles
from sdl_study.record.outcome import RESULT_FILE
from sdl_study.storage.index import INDEX, Entry, Index
from sdl_study.storage.objects import Objects
from sdl_study.storage.place import Place

GoesOn = Callable[[], None]


class Mirror:
    """Brings states of a study's folder to the storage.

    Args:
        files: of the study.
        place: of the study on the storage.
        index: the state that is there; None where there is none.
        about: what belongs to a state that is written.
        may_write: called before a state is written; raises where another process has the study.

    Raises:
        StorageError: the storage does not answer.
    """

    def __init__(
        self,
        files: StudyFiles,
        place: Place,
        index: Index | None,
        about: Callable[[], Mapping[str, Any]],
        may_write: GoesOn,
    ) -> None:
        self._files, self._place, self._about = files, place, about
        self._index = index or Index("", {})
        self._may_write = may_write
        self._objects = Objects(place)
        self._all, self._one = threading.Lock(), threading.Lock()

    def bring(self, goes_on: GoesOn) -> None:
        """Bring everything, the record last.

        Args:
            goes_on: called now and then; raises where there is no time left.

        Raises:
            StorageError: the storage did not take it; what is there is a state before.
        """
        with self._all:
            before, others = self._index.files, dict[str, Entry]()
            try:
                for path in other_files(self._files):
                    entry = self._objects.entry(self._files.folder / path, before.get(path), goes_on)
                    if entry is not None:
                        others[path] = entry
                with self._one:
                    self._commit(others, goes_on)
                    self._objects.remove_all_but(self._index.objects)
            finally:
                self._objects.release()

    def bring_record(self, goes_on: GoesOn) -> None:
        """Bring the record alone, which may know more than the other files; what it replaces is removed later.

        Raises:
            StorageError: the storage did not take it.
        """
        with self._one:
            record = {path.name for path in record_files(self._files)}
            others = {path: entry for path, entry in self._index.files.items() if path not in record}
            try:
                self._commit(others, goes_on)
            finally:
                self._objects.release()

    def missing(self) -> list[str]:
        """The files that the state on the storage has not as they are here, by their paths."""
        here = [*other_files(self._files), *(path.name for path in record_files(self._files))]
        return [path for path in here if not self._has(path)]

    def _has(self, path: str) -> bool:
        entry, file = self._index.files.get(path), self._files.folder / path
        return entry is not None and (entry.size, entry.mtime_ns) == (
            file.stat().st_size,
            file.stat().st_mtime_ns,
        )

    def _commit(self, others: Mapping[str, Entry], goes_on: GoesOn) -> None:
        before, found = self._index.files, dict(others)
        for path in record_files(self._files):
            entry = self._objects.entry(path, before.get(path.name), goes_on)
            if entry is not None:
                found[path.name] = entry
        if found == before:
            return
        index = Index.of(found, self._about())
        self._may_write()
        # Before the state is there: whoever kills us in between finds it to be ours.
        write_json(self._files.storage, {"url": self._place.url, "states": [self._index.state, index.state]})
        self._place.put(INDEX, index.to_json())
        self._index = index


def record_files(files: StudyFiles) -> list[Path]:
    """The record as far as it is there, in the order in which it is read: what is written first comes last."""
    superseded = sorted(files.folder.glob("declaration-superseded-*.json"))
    order = (files.ledger, *superseded, files.declaration, files.journal, files.environment, files.study_json)
    return [path for path in order if path.exists()]


def other_files(files: StudyFiles) -> list[str]:
    """All other files of a study, by their paths below its folder."""
    top = [path for path in _below(files.folder, deep=False) if path not in record_files(files)]
    ended = {path for path in _below(files.folder) if path.name == RESULT_FILE}
    rest = [path for path in _below(files.folder) if path.parent != files.folder and path.name != RESULT_FILE]
    found = [*top, *sorted(ended), *sorted(rest)]
    own = {files.lock, files.storage}
    return [path.relative_to(files.folder).as_posix() for path in found if path not in own]


def _below(folder: Path, deep: bool = True) -> Iterator[Path]:
    """Files that are whole."""
    for path in folder.rglob("*") if deep else folder.iterdir():
        half = path.name.startswith(".") and path.name.endswith(".partial")
        if not half and path.is_file() and not path.is_symlink():
            yield path
