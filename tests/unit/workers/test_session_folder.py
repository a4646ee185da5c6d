"""Where Ray's files lie: in a private folder that this user can write and that is short enough for sockets."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.workers import session_folder
from sdl_study.workers.session_folder import session_root

UID = os.getuid()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name; pytest's own are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(session_folder, "_SHORT", short)


def refused() -> str:
    with pytest.raises(UserError) as told:
        session_root()
    assert "\n" not in str(told.value)
    return str(told.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_private_whatever_the_umask_and_what_was_there(short: Path) -> None:
    root = short / f"sdl-{UID}"
    before = os.umask(0)
    try:
        assert session_root() == root
    finally:
        os.umask(before)
    assert mode(root) == 0o700
    root.chmod(0o777)
    assert session_root() == root
    assert mode(root) == 0o700
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_variable_names_it(name: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = short / "own"
    own.mkdir()
    monkeypatch.setenv(name, str(own))
    assert session_root() == own / f"sdl-{UID}"


def test_a_relative_name_is_of_this_folder(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "own").mkdir()
    monkeypatch.chdir(short)
    monkeypatch.setenv("RAY_TMPDIR", "own")
    assert session_root() == short / "own" / f"sdl-{UID}"


def test_a_tmpdir_too_long_for_sockets_is_passed_over(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = short / "net_tdfcarhc_people" / "someuser" / "slurm_jobdir" / "1355700" / "tmp.t0016"
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    assert session_root() == short / f"sdl-{UID}"
    assert list(long.iterdir()) == []


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_ray_tmpdir_too_long_is_told_with_its_bytes(
    letter: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = short / (letter * 80)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    told = refused()
    length, limit = len(os.fsencode(long)), int(told.split("at most ")[1].split(")")[0])
    assert told.startswith(
        f"RAY_TMPDIR {long}: is too long for Ray's sockets ({length} bytes, at most {limit})"
    )
    just = short / ("y" * (limit - len(os.fsencode(short)) - 1))
    just.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(just))
    assert session_root().parent == just
    monkeypatch.setenv("RAY_TMPDIR", f"{just}y")
    assert "too long" in refused()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_is_none(name: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, str(short / "no"))
    assert refused().startswith(f"{name} {short / 'no'}: is not there")
    (short / "no").write_text("a file")
    assert refused().startswith(f"{name} {short / 'no'}: is not a folder")


@pytest.mark.parametrize("what", ["a file", "a link", "another user's"])
def test_what_somebody_else_put_there_is_not_used(
    what: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = short / f"sdl-{UID}"
    if what == "a file":
        root.write_text("mine")
    elif what == "a link":
        (short / "theirs").mkdir()
        root.symlink_to(short / "theirs")
    else:
        root.mkdir()
        monkeypatch.setattr(session_folder.os, "getuid", lambda: UID + 1)
        root.rename(short / f"sdl-{UID + 1}")
    assert "set RAY_TMPDIR" in refused()


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES"])
def test_a_folder_that_cannot_be_written(number: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(session_folder.os, "fsync", fail)
    told = refused()
    assert str(error.strerror) in told
    assert "set RAY_TMPDIR" in told
    assert list((short / f"sdl-{UID}").iterdir()) == []


def test_shared_memory_that_cannot_be_written(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_folder, "_SHARED_MEMORY", short / "shm")
    assert refused().startswith(f"{short / 'shm'}: Ray's shared memory cannot be written (No such file")
    assert list(short.iterdir()) == []


@pytest.mark.parametrize(("number", "told"), [("ENOSPC", False), ("EROFS", True), ("EACCES", True)])
def test_little_shared_memory_is_enough(
    number: str, told: bool, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, plain = short / "shm", tempfile.TemporaryFile
    monkeypatch.setattr(session_folder, "_SHARED_MEMORY", memory)

    def opened(dir: Path) -> Any:  # noqa: A002 (its name there)
        if dir == memory:
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))
        return plain(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", opened)
    if told:
        assert str(memory) in refused()
    else:
        session_root()
