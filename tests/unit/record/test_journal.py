"""The journal: readers never write, see whole lines only, and the driver is alone."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import open_for_driver, read
from tests.unit.study.fakes import open_search, play, small_plan


def played(folder: Path) -> Path:
    plan = small_plan(folder)
    play(open_search(plan), lambda arm, parameters, epoch: 0.1 * epoch)
    return plan.files.journal


def test_a_reader_sees_what_the_driver_wrote(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    reader = read(plan.files.journal)
    play(search, lambda arm, parameters, epoch: 0.1 * epoch, stop_after=3)
    assert read(plan.files.journal).all() == search.journal.all()
    assert reader.all() == search.journal.all()  # one that was open already reads on


def test_reading_makes_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere" / "journal.log").all() == []
    assert not any(tmp_path.iterdir())


def test_reading_needs_no_permission_to_write(tmp_path: Path) -> None:
    journal = played(tmp_path)
    before = journal.read_bytes()
    journal.chmod(0o400)
    os.utime(journal, (1, 1))
    assert len(read(journal).all()) == 8
    assert journal.read_bytes() == before
    assert journal.stat().st_mtime == 1


def test_what_read_gives_cannot_write(tmp_path: Path) -> None:
    journal = read(played(tmp_path))
    with pytest.raises(RuntimeError, match="never written"):
        journal._storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "small/other")


@pytest.mark.parametrize("tail", [b'{"op_code"', b"\xff\xfe", b'{"op_code": 5}'])
def test_a_line_without_its_end_is_not_there_yet(tail: bytes, tmp_path: Path) -> None:
    journal = played(tmp_path)
    before = read(journal).all()
    with journal.open("ab") as file:
        file.write(tail)
    assert read(journal).all() == before
    assert journal.read_bytes().endswith(tail)


def test_damage_in_the_middle_is_one_line_for_a_reader_too(tmp_path: Path) -> None:
    journal = played(tmp_path)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], lines[2][:10] + "\n", *lines[3:]]))
    with pytest.raises(UserError, match=r"journal\.log: damaged in the middle"):
        read(journal)


def test_a_second_driver_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "small")
    with open_for_driver(files, ("any",), "dev/map"):
        with (
            pytest.raises(UserError, match="another process runs this study"),
            open_for_driver(files, ("any",), "dev/map"),
        ):
            raise AssertionError("two drivers")
        assert read(files.journal).all() == []
    with open_for_driver(files, ("any",), "dev/map"):
        pass


def test_optunas_own_tools_read_the_journal(tmp_path: Path) -> None:
    """optuna-dashboard, for example, opens it with the backend of Optuna's."""
    journal = played(tmp_path)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="small/sd", storage=storage)
    assert len(study.trials) == 4
    assert study.best_value == max(trial.objective or 0 for trial in read(journal).of_arm("sd"))


def test_the_driver_needs_no_links_in_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's own backend locks by a symbolic link, which exFAT and SMB do not have."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    assert len(read(played(tmp_path)).all()) == 8
