"""The mirror: any state that is ever on the storage can be gone on from, and nothing else lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdl_study.errors import UserError
from sdl_study.files import write_json, write_text
from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.storage.index import INDEX, OBJECTS, fetch, read_index
from sdl_study.storage.mirror import Mirror, other_files, record_files
from sdl_study.storage.objects import Objects
from sdl_study.storage.place import Place, StorageError
from tests.storages import contents


def goes_on() -> None:
    """There is time."""


def mirror_of(files: StudyFiles, place: Place) -> Mirror:
    return Mirror(files, place, read_index(place), lambda: {"private": False}, goes_on)


def fetched(place: Place, folder: Path) -> dict[str, bytes]:
    fetch(place, folder)
    return dict(contents(folder))


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    """A study with a trial in its middle, and what does not belong on a storage."""
    files = StudyFiles(tmp_path / "out", "tiny")
    write_json(files.study_json, {"id": "1"})
    write_text(files.journal, "one\ntwo\n")
    write_text(files.trial(0) / LAST, "epoch 2")
    write_text(files.trial(0) / "empty.csv", "")
    write_text(files.lock, "held")
    write_text(files.trial(0) / f".{BEST}.1.partial", "half")
    return files


def test_a_folder_comes_back_as_it_was(files: StudyFiles, storage: Place, tmp_path: Path) -> None:
    write_text(files.folder / "scores.txt", "of patients", private=True)
    mirror_of(files, storage).bring(goes_on)
    here = contents(files.folder)
    expected = {path: here[path] for path in here if path not in (".lock", ".storage.json")}
    expected.pop("trials/0000/.best.pt.1.partial")
    assert fetched(storage, tmp_path / "again") == expected
    assert (tmp_path / "again" / "scores.txt").stat().st_mode & 0o777 == 0o600
    for path in expected:
        assert (tmp_path / "again" / path).stat().st_mtime_ns == (files.folder / path).stat().st_mtime_ns


def test_a_journal_that_grows_is_written_in_few_pieces(
    files: StudyFiles, storage: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, written = mirror_of(files, storage), list[int]()
    put_file = Place.put_file

    def noted(self: Place, name: str, file: object, start: int, size: int, more: object) -> None:
        written.append(size)
        put_file(self, name, file, start, size, more)  # type: ignore[arg-type]

    monkeypatch.setattr(Place, "put_file", noted)
    for number in range(16):
        with files.journal.open("a") as file:
            file.write(f"line {number:03d} of a hundred bytes".ljust(99, ".") + "\n")
        mirror.bring_record(goes_on)
    mirror.bring(goes_on)
    index = read_index(storage)
    assert index is not None
    assert len(index.files["journal.log"].pieces) <= 5
    assert sum(written) < 16 * 100 * 6  # each time whole, it would be 8.5 times its length
    assert fetched(storage, tmp_path / "again")["journal.log"] == files.journal.read_bytes()
    assert set(storage.list(OBJECTS)) == {name.removeprefix("objects/") for name in index.objects}


def test_a_line_without_its_end_is_not_brought(files: StudyFiles, storage: Place, tmp_path: Path) -> None:
    mirror = mirror_of(files, storage)
    write_text(files.journal, "one\ntwo\nthr")
    mirror.bring(goes_on)
    assert fetched(storage, tmp_path / "a")["journal.log"] == b"one\ntwo\n"
    write_text(files.journal, "one\ntwo\nanother\n")  # as the driver mends it
    mirror.bring(goes_on)
    assert fetched(storage, tmp_path / "b")["journal.log"] == b"one\ntwo\nanother\n"


def test_what_is_removed_here_is_removed_there(files: StudyFiles, storage: Place, tmp_path: Path) -> None:
    mirror = mirror_of(files, storage)
    mirror.bring(goes_on)
    (files.trial(0) / LAST).unlink()
    mirror.bring_record(goes_on)
    mirror.bring(goes_on)
    assert "trials/0000/last.pt" not in fetched(storage, tmp_path / "again")
    assert len(storage.list(OBJECTS)) == 2  # journal and study.json


def test_what_a_killed_driver_left_is_removed(files: StudyFiles, storage: Place) -> None:
    storage.put("objects/" + "0" * 64, b"half")
    mirror_of(files, storage).bring(goes_on)
    assert "0" * 64 not in storage.list(OBJECTS)


def test_a_record_that_is_ahead_has_its_checkpoints_behind(
    files: StudyFiles, storage: Place, tmp_path: Path
) -> None:
    mirror = mirror_of(files, storage)
    mirror.bring(goes_on)
    write_text(files.trial(0) / LAST, "epoch 3")
    write_text(files.journal, "one\ntwo\nthree\n")
    mirror.bring_record(goes_on)
    found = fetched(storage, tmp_path / "again")
    assert (found["trials/0000/last.pt"], found["journal.log"]) == (b"epoch 2", b"one\ntwo\nthree\n")


def test_a_broken_upload_leaves_the_state_before(
    files: StudyFiles, storage: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(files, storage)
    mirror.bring(goes_on)
    before = fetched(storage, tmp_path / "before")
    write_text(files.trial(0) / LAST, "epoch 3")
    write_text(files.journal, "one\ntwo\nthree\n")
    put, put_file = Place.put, Place.put_file
    for broken in (OBJECTS, INDEX):

        def fails(self: Place, name: str, *given: object, broken: str = broken) -> None:
            if name.startswith(broken):
                raise StorageError("broken")
            (put if len(given) == 1 else put_file)(self, name, *given)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Place, "put", fails)
            patch.setattr(Place, "put_file", fails)
            with pytest.raises(StorageError, match="broken"):
                mirror.bring(goes_on)
        assert fetched(storage, tmp_path / f"after {broken}") == before
        assert mirror.missing() == ["trials/0000/last.pt", "journal.log"]
    mirror.bring(goes_on)
    assert mirror.missing() == []
    assert fetched(storage, tmp_path / "at last")["trials/0000/last.pt"] == b"epoch 3"


def test_nothing_is_written_twice(files: StudyFiles, storage: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror_of(files, storage).bring(goes_on)

    def never(*_: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr(Place, "put", never)
    monkeypatch.setattr(Place, "put_file", never)
    mirror_of(files, storage).bring(goes_on)
    os.utime(files.study_json)  # touched alone: the content is there
    monkeypatch.setattr(Place, "put", lambda *_: None)
    mirror_of(files, storage).bring(goes_on)


def test_a_file_that_is_written_into_stays_as_it_was(files: StudyFiles, storage: Place) -> None:
    path = files.trial(0) / LAST
    objects = Objects(storage)
    before = objects.entry(path, None, goes_on)
    write_text(path, "epoch 3, half")

    def writes() -> None:
        with path.open("a") as file:
            file.write(" and more")

    assert objects.entry(path, before, writes) == before


def test_an_outcome_that_comes_while_files_are_listed_waits(
    files: StudyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it speaks of may be in a folder that was listed before."""
    rglob, comes = Path.rglob, iter([False, True])

    def listed(self: Path, pattern: str) -> Iterator[Path]:
        found = list(rglob(self, pattern))
        if next(comes, False):
            write_text(files.trial(1) / "scores.npz", "")
        else:
            write_text(files.trial(1) / "result.json", "{}")
        return iter(found)

    monkeypatch.setattr(Path, "rglob", listed)
    assert not any(name.endswith("result.json") for name in other_files(files))


def test_the_record_is_read_last_and_its_first_file_at_the_end(files: StudyFiles) -> None:
    for path in (files.ledger, files.declaration, files.environment, files.answer):
        write_text(path, "")
    assert [path.name for path in record_files(files)] == [
        "test_ledger.jsonl", "declaration.json", "journal.log", "environment.json", "study.json",
    ]  # fmt: skip
    assert other_files(files)[0] == "answer.json"


def test_damage_is_told_and_leaves_nothing(files: StudyFiles, storage: Place, tmp_path: Path) -> None:
    mirror_of(files, storage).bring(goes_on)
    name = next(iter(storage.list(OBJECTS)))
    storage.put(f"{OBJECTS}/{name}", b"something else")
    with pytest.raises(UserError, match=f"objects/{name}: damaged"):
        fetch(storage, tmp_path / "again")
    storage.put(INDEX, b'{"format_version": 7}')
    with pytest.raises(UserError, match="format_version 7, this version reads 1"):
        fetch(storage, tmp_path / "again")
    content = b'{"format_version": 1, "state": "a", "about": {}, "files": {"../x": '
    storage.put(INDEX, content + b'{"pieces": [], "mtime_ns": 0, "private": false}}}')
    with pytest.raises(UserError, match="names a file outside its folder"):
        fetch(storage, tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
