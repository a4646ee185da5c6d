"""A file system without locks is one line, and nothing is left behind; with locks, one holds them at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdl_study.data.cache import build_once
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import append_line
from sdl_study.evaluation.predictions import FinalIdentity
from sdl_study.locks import take_lock
from sdl_study.record.files import StudyFiles
from sdl_study.record.held import locked
from sdl_study.run import main

NO_LOCKS = ("ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EPERM")


@pytest.fixture(params=NO_LOCKS)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, request.param)

    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def hold(files: StudyFiles) -> None:
    with locked(files):
        pass


def test_a_study_without_locks_leaves_nothing(no_locks: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows no locks") as told:
        hold(StudyFiles(tmp_path / "new" / "studies", "tiny"))
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays(no_locks: None, tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "tiny")
    files.folder.mkdir()
    files.journal.write_text("{}\n")
    files.lock.touch()
    with pytest.raises(UserError, match="knows no locks"):
        hold(files)
    assert sorted(path.name for path in files.folder.iterdir()) == [".lock", "journal.log"]


def test_the_command_says_it_before_anything_is_written(
    no_locks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "demo_coco", "--out", str(tmp_path / "studies")]) == 2
    told = capsys.readouterr().err
    assert f"error: {tmp_path / 'studies'}: the file system there knows no locks" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_store_and_a_ledger_without_locks(no_locks: None, tmp_path: Path) -> None:
    def nothing(folder: Path) -> None:
        raise AssertionError("built without a lock")

    identity = FinalIdentity("tiny", "sd", "probe", 0, "final")
    facts = {"fingerprint": "f", "declaration": "d", "code_version": "0"}
    calls: list[Callable[[], object]] = [
        lambda: build_once(tmp_path / "stores", "tokens", nothing),
        lambda: append_line(tmp_path, identity, **facts),
    ]
    for call in calls:
        with pytest.raises(UserError, match="knows no locks"):
            call()


def test_another_error_of_the_lock_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.EBADF, "bad")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="bad"):
        take_lock(file, tmp_path, wait=False)


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "tiny")
    with locked(files):
        with pytest.raises(UserError, match="another process runs this study"):
            hold(files)
        assert files.lock.exists()  # it is the other one's
    hold(files)
