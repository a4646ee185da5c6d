"""Bringing a study from the storage to this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import append_missing, read_ledger
from sdl_study.files import read_json, write_json
from sdl_study.record.files import StudyFiles
from sdl_study.storage.data import fetch_data
from sdl_study.storage.index import Index, fetch, read_index
from sdl_study.storage.place import Place


def fetch_folder(place: Place, files: StudyFiles, say: Callable[[str], None]) -> None:
    """Fetch a study's folder as its state on the storage has it, whole or not at all.

    Raises:
        UserError: there is something else under its name, or what lies on the storage is damaged.
        StorageError: the storage does not answer.
    """
    if files.folder.exists() and any(files.folder.iterdir()):
        raise UserError(f"{files.folder}: is there and holds no study; move it away, or use --name")

    def note(index: Index, partial: Path) -> None:
        write_json(partial / files.storage.name, {"url": place.url, "states": [index.state]})

    try:
        index = fetch(place, files.folder, note)
    except OSError as error:
        raise UserError(f"{files.folder}: cannot be written ({error.strerror})") from None
    size = sum(entry.size for entry in index.files.values())
    say(f"fetched from {place.url}: {len(index.files)} files, {size / 2**20:.1f} MiB")


def fetch_study(storage: Place, files: StudyFiles, say: Callable[[str], None]) -> None:
    """Fetch a study's folder, and beside it its prepared data where they are kept.

    Raises:
        UserError: there is no such study, or no room for it.
        StorageError: the storage does not answer.
    """
    place = storage.below(files.name)
    if read_index(place) is None:
        raise UserError(f"{place.url}: there is no study of this name; --storage names the prefix above it")
    fetch_folder(place, files, say)
    fingerprint = read_json(files.study_json)["data_fingerprint"]
    folder = files.fetched_data(fingerprint)
    if fetch_data(storage, fingerprint, folder):
        append_missing(folder, read_ledger(files.folder))
        say(f"its prepared data: {folder}")
    else:
        say("its prepared data are not kept there; where a command needs them, name their folder")
