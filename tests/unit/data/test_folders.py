"""Temporary folders: whose error it is, what is left behind, and what an earlier process left."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sdl_study.data import folders
from sdl_study.data.folders import discard_unfinished, temporary_folder
from sdl_study.errors import UserError
from tests.unit.data import small


def dead_process() -> int:
    """Number of a process that was and is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def fail_leaving_a_file(out: Path) -> None:
    """Somebody puts a file beside the output, and then the work fails."""
    with temporary_folder(out):
        (out.parent / "somebody's").touch()
        raise RuntimeError


def test_an_input_that_cannot_be_read_is_not_the_outputs_fault(tmp_path: Path) -> None:
    theirs = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "notes.csv"))
    with pytest.raises(PermissionError) as caught, temporary_folder(tmp_path / "out"):
        raise theirs
    assert caught.value is theirs
    polars = PermissionError(f"Permission denied (os error 13): {tmp_path / 'notes.csv'}")
    with pytest.raises(PermissionError) as caught, temporary_folder(tmp_path / "out"):
        raise polars
    assert caught.value is polars
    nameless = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(PermissionError), temporary_folder(tmp_path / "out"):
        raise nameless


@pytest.mark.parametrize("inside", [True, False])
def test_an_error_of_the_output_is_one_line(tmp_path: Path, inside: bool) -> None:
    out = tmp_path / "out"
    line = f"^{out}: cannot be written: Permission denied$"
    with pytest.raises(UserError, match=line), temporary_folder(out) as partial:
        raise PermissionError(errno.EACCES, "Permission denied", str(partial / "x" if inside else out))


def test_a_full_disk_without_a_path_is_the_outputs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    ):
        with pytest.raises(UserError, match=f"^{out}: cannot be written: No space"), temporary_folder(out):
            raise error
    with pytest.raises(OSError, match="/elsewhere"), temporary_folder(out):
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere/spill")


def test_a_failure_leaves_no_new_folder_and_success_keeps_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out"
    with pytest.raises(UserError, match="is empty"):
        small.write_text(out, index=small.index().filter(pl.col("split") != "test"))
    with pytest.raises(RuntimeError), temporary_folder(out):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError):
        fail_leaving_a_file(out)
    assert [path.name for path in out.parent.iterdir()] == ["somebody's"]
    (out.parent / "somebody's").unlink()
    small.write_text(out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), temporary_folder(tmp_path / "mine" / "new" / "out"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_left_of_the_same_output_is_removed_when_its_process_is_gone(tmp_path: Path) -> None:
    gone, machine = dead_process(), folders._MACHINE
    removed = [f".out.partial-{gone}", f".out.partial-{machine}-{gone}"]
    removed += [f"{removed[1]}.stopped", f".out.partial-{machine}-{os.getpid()}.stopped"]
    kept = [
        f".out.partial-{machine}-{os.getppid()}",  # is running
        f".out.partial-{machine}-1",  # is running, and may be another user's
        f".out.partial-other-host-{gone}",  # who knows
        f".outer.partial-{machine}-{gone}",  # another output
        f".out.spool.partial-{machine}-{gone}",
        "out.partial-1",
    ]
    for name in [*removed, *kept]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes").touch()
    with temporary_folder(tmp_path / "out") as partial:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, partial.name])


def test_two_folders_of_one_process_do_not_remove_each_other(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "out.spool") as spool, temporary_folder(tmp_path / "out") as partial:
        assert spool.is_dir()
        assert partial.is_dir()
        assert {oct(folder.stat().st_mode & 0o777) for folder in (spool, partial)} == {"0o700"}
    assert list(tmp_path.iterdir()) == []


def test_what_is_unfinished_goes_and_cannot_become_the_output(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "finished") as partial:
        partial.rename(tmp_path / "finished")
        with temporary_folder(tmp_path / "out") as other:
            (other / "notes").touch()
            discard_unfinished()
            assert [path.name for path in tmp_path.iterdir()] == ["finished"]
            with pytest.raises(FileNotFoundError):
                other.rename(tmp_path / "out")


def test_the_machine_stands_in_the_name_and_the_name_is_a_plain_one(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "out") as partial:
        assert re.fullmatch(rf"\.out\.partial-[\w.-]+-{os.getpid()}", partial.name)
