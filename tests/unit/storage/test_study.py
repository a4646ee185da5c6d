"""A study and its storage: another machine goes on from it, and what it lacks is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import append_line, read_ledger
from sdl_study.evaluation.predictions import FinalIdentity
from sdl_study.files import write_json, write_text
from sdl_study.record.files import LAST, StudyFiles
from sdl_study.run import main
from sdl_study.storage import study as study_module
from sdl_study.storage.place import Place, StorageError
from sdl_study.storage.study import StudyStorage
from tests.integration.tiny import tiny_data
from tests.storages import contents

FACTS = {"declaration": "d", "code_version": "1"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return PreparedData.load(tiny_data(tmp_path_factory.mktemp("prepared")))


@pytest.fixture
def data(prepared: PreparedData, tmp_path: Path) -> PreparedData:
    """The data set on the machine where the study begins."""
    copied = shutil.copytree(prepared.path, tmp_path / "data")
    return PreparedData.load(copied)


@pytest.fixture
def files(tmp_path: Path, data: PreparedData) -> StudyFiles:
    """A study that has begun."""
    files = StudyFiles(tmp_path / "one", "tiny")
    write_json(files.study_json, {"id": "1", "data_fingerprint": data.manifest.fingerprint})
    write_text(files.journal, "one\n")
    write_text(files.trial(0) / LAST, "epoch 1")
    return files


def storage_of(files: StudyFiles, storage: Place, told: list[str] | None = None) -> StudyStorage:
    return StudyStorage(files, storage.url, (told if told is not None else []).append, lambda: None)


def brought(files: StudyFiles, storage: Place, data: PreparedData) -> None:
    """All of the study is on the storage."""
    running = storage_of(files, storage)
    running.open()
    running.start(data)
    running.close(in_order=True)


def test_another_machine_goes_on(
    files: StudyFiles, storage: Place, data: PreparedData, tmp_path: Path
) -> None:
    opened = append_line(
        data.path, FinalIdentity("tiny", "sd", "probe", 0, "final"), fingerprint="f", **FACTS
    )
    append_line(data.path, FinalIdentity("other", "sd", "probe", 0, "final"), fingerprint="f", **FACTS)
    brought(files, storage, data)
    here, told = StudyFiles(tmp_path / "two", "tiny"), list[str]()
    running = storage_of(here, storage, told)
    running.open()
    assert re.fullmatch(rf"fetched from {storage.url}/tiny: 4 files, 0\.0 MiB", told[0])
    assert contents(here.folder).keys() - {".storage.json"} == contents(files.folder).keys() - {
        ".storage.json"
    }
    assert running.data_folder(None, str(data.path)) is None  # this machine has them
    folder = running.data_folder(None, "/nowhere")
    assert folder is not None
    assert folder == here.fetched_data(data.manifest.fingerprint)
    again = PreparedData.load(folder)
    assert again.manifest == data.manifest
    assert contents(folder).keys() == {*data.manifest.file_bytes, "manifest.json"}
    running.start(again)
    assert read_ledger(folder) == [opened]
    running.close(in_order=True)
    assert running.data_folder("a.pipeline", None) == folder  # it is here now
    shutil.rmtree(data.path)


def test_a_folder_that_the_storage_went_on_without_is_refused(
    files: StudyFiles, storage: Place, data: PreparedData, tmp_path: Path
) -> None:
    brought(files, storage, data)
    brought(files, storage, data)  # the same folder goes on
    here = StudyFiles(tmp_path / "two", "tiny")
    running = storage_of(here, storage)
    running.open()
    write_text(here.journal, "one\ntwo\n")
    running.start(data)
    running.close(in_order=True)
    with pytest.raises(UserError, match=r"the study there went on without .*; move one of the two away"):
        storage_of(files, storage).open()
    assert storage.list("tiny/drivers") == {}


def test_who_was_killed_while_it_wrote_a_state_goes_on(
    files: StudyFiles, storage: Place, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought(files, storage, data)
    put = Place.put
    for reached in (False, True):

        def killed(self: Place, name: str, content: bytes, reached: bool = reached) -> None:
            if reached or not name.endswith("index.json"):
                put(self, name, content)
            if name.endswith("index.json"):
                raise StorageError("killed")

        running = storage_of(files, storage)
        running.open()
        with files.journal.open("a") as file:
            file.write("more\n")
        with monkeypatch.context() as patch:
            patch.setattr(Place, "put", killed)
            running.start(data)
            running.close(in_order=False)
        brought(files, storage, data)


def test_what_the_storage_lacks_is_said_at_the_end(
    files: StudyFiles, storage: Place, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    running = storage_of(files, storage, told)
    running.open()

    def full(*_: object) -> None:
        raise StorageError("slow_down")

    with monkeypatch.context() as patch:
        patch.setattr(Place, "put_file", full)
        patch.setattr(study_module, "_LAST_ATTEMPTS", 2)
        running.start(data)
        with pytest.raises(MachineFailure, match="does not take the ledger"):
            running.opening()
        with pytest.raises(MachineFailure) as raised:
            running.close(in_order=True)
    assert str(raised.value) == (
        f"{storage.url}/tiny lacks trials/0000/last.pt and 2 other files, after 4 errors; all is in {files.folder}, "
        "and the same command brings it"
    )
    assert len(told) == 2
    assert re.fullmatch(
        rf"{storage.url}/tiny does not take (files|data) \(slow_down\); the study goes on, and tries again",
        told[1],
    )
    brought(files, storage, data)


def test_a_file_here_that_cannot_be_read_is_told_like_the_storage(
    files: StudyFiles, storage: Place, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    running = storage_of(files, storage, told)
    running.open()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "write_text", no_space)  # the ledger's lines
        append_line(data.path, FinalIdentity("tiny", "sd", "probe", 0, "final"), fingerprint="f", **FACTS)
        running.start(data)
        running.close(in_order=False)
    assert told[1] == f"{storage.url}/tiny does not take files (OSError); the study goes on, and tries again"
    assert told[2].startswith(
        f"{storage.url}/tiny lacks trials/0000/last.pt and 2 other files, after 1 errors;"
    )
    brought(files, storage, data)


def test_a_trial_that_starts_is_known_there(files: StudyFiles, storage: Place, data: PreparedData) -> None:
    running = storage_of(files, storage)
    running.open()
    running.start(data)
    running.started(None)  # type: ignore[arg-type]
    assert storage.json("tiny/index.json")["files"].keys() == {"journal.log", "study.json"}
    running.close(in_order=False)
    assert storage.json("tiny/index.json")["files"].keys() >= {"trials/0000/last.pt"}


def test_restricted_data_are_told_of(files: StudyFiles, storage: Place, tmp_path: Path) -> None:
    restricted = PreparedData.load(tiny_data(tmp_path / "restricted", "restricted"))
    files.folder.chmod(0o700)
    told = list[str]()
    running = storage_of(files, storage, told)
    running.open()
    running.start(restricted)
    running.close(in_order=True)
    assert told[0].startswith("restricted data: texts, labels and scores go to s3://")
    here = StudyFiles(tmp_path / "two", "tiny")
    running = storage_of(here, storage)
    running.open()
    folder = running.data_folder(None, None)
    running.close(in_order=False)
    assert folder is not None
    assert here.folder.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700


def test_fetch_brings_a_study_to_be_looked_at(
    files: StudyFiles, storage: Place, data: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought(files, storage, data)
    out = tmp_path / "looked"
    assert main(["fetch", "tiny", "--storage", storage.url, "--out", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1] == f"its prepared data: {StudyFiles(out, 'tiny').fetched_data(data.manifest.fingerprint)}"
    assert main(["fetch", "tiny", "--storage", storage.url, "--out", str(out)]) == 2
    assert "the study is here already" in capsys.readouterr().err
    assert main(["fetch", "other", "--storage", storage.url, "--out", str(tmp_path / "none")]) == 2
    assert "there is no study of this name" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_no_secret_is_written_or_said(
    files: StudyFiles, storage: Place, data: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought(files, storage, data)
    assert main(["fetch", "tiny", "--storage", "s3://nowhere/x", "--out", str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    everything = [told.out.encode(), told.err.encode(), *contents(tmp_path).values()]
    everything += [storage.get(name) or b"" for name in storage.list("tiny")]
    assert not any(b"of-the-tests" in content for content in everything)
