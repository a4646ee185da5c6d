"""Stores on a full disk, after a killed process, and before a power loss."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from sdl_study.data.disk import publish, write_array
from sdl_study.data.features import open_feature_store
from sdl_study.data.images import open_image_store
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
from tests.unit.data import small

Usage = namedtuple("Usage", "total used free")

# The store is built on a file system of a megabyte; `free` is what the system is made to say about it.
ON_A_SMALL_DISK = """
import shutil, sys
from collections import namedtuple
from pathlib import Path
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
usage = namedtuple("usage", "total used free")
if sys.argv[3] != "as it is":
    shutil.disk_usage = lambda path: usage(10**12, 0, int(sys.argv[3]))
settings = {"image_size": 128} if "image" in sys.argv[1] else {}
try:
    open_store(PreparedData.load(sys.argv[1]), settings, Path(sys.argv[2]))
except UserError as error:
    print(error)
    print(len([path for path in Path(sys.argv[2]).iterdir() if path.is_dir()]), "left")
"""
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$2" && exec "$0" -c "$3" "$1" "$2" "$4"'


def on_a_small_disk(prepared: Path, disk: Path, free: str) -> subprocess.CompletedProcess[str]:
    """Build a store of `prepared` in a mount of its own, seen by the new process alone (a user namespace)."""
    disk.mkdir()
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        MOUNT,
        sys.executable,
        str(prepared),
        str(disk),
        ON_A_SMALL_DISK,
        free,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_store_beyond_the_largest_file_allowed_is_one_line(tmp_path: Path) -> None:
    small.write_images(tmp_path / "image", tmp_path / "files")
    (tmp_path / "stores").mkdir()
    command = [
        sys.executable,
        "-c",
        ON_A_SMALL_DISK,
        str(tmp_path / "image"),
        str(tmp_path / "stores"),
        "as it is",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY)),
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    line, left = done.stdout.splitlines()
    assert line.startswith(f"{tmp_path / 'stores'}: store cannot be written: File too large")
    assert left == "0 left"


@pytest.mark.slow  # where users may not mount (most containers) these two cannot run
@pytest.mark.parametrize("free", ["as it is", "1000000000000"])
def test_a_full_disk_is_one_line_not_a_killed_process(tmp_path: Path, free: str) -> None:
    small.write_images(tmp_path / "image", tmp_path / "files")
    done = on_a_small_disk(tmp_path / "image", tmp_path / "disk", free)
    assert done.returncode == 0, (done.returncode, done.stderr)
    line, left = done.stdout.splitlines()
    assert line.startswith(f"{tmp_path / 'disk'}: store cannot be written: No space left on device")
    assert left == "0 left"


@pytest.mark.slow
def test_a_disk_that_fills_under_the_offsets_of_a_token_store(tmp_path: Path) -> None:
    small.write_text(tmp_path / "text", texts=["alpha " * 8_000] * 60)
    done = on_a_small_disk(tmp_path / "text", tmp_path / "disk", "0")
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "store cannot be written: No space left on device" in done.stdout.splitlines()[0]


def test_the_space_is_asked_for_before_the_first_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    monkeypatch.setattr("sdl_study.data.images._read", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(UserError, match=r"No space left on device: 0\.009 GB are needed and 0\.001 GB are"):
        open_image_store(prepared, {"image_size": 224}, tmp_path / "stores")
    assert not [path for path in (tmp_path / "stores").iterdir() if path.is_dir()]


def test_a_file_system_that_does_not_count_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(0, 0, 0))
    assert len(open_feature_store(small.write_features(tmp_path / "out"), {}, tmp_path / "stores")) == 60


@pytest.mark.parametrize("shape", [(5, 3), (5,), (0, 3), (5, 0)])
def test_an_array_written_in_parts_is_the_one_that_numpy_saves(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    write_array(tmp_path / "ours.npy", shape, "<f4", (array[i : i + 2] for i in range(0, len(array), 2)))
    np.save(tmp_path / "numpys.npy", array.astype(np.float32))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


def test_too_few_parts_are_no_array(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 rows for an array of 3"):
        write_array(tmp_path / "x.npy", (3, 2), np.float32, [np.zeros((2, 2))])


def test_files_and_folders_are_on_the_disk_before_the_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, final = tmp_path / "partial", tmp_path / "final"
    (partial / "inner").mkdir(parents=True)
    (partial / "a").write_text("a")
    (partial / "inner" / "b").write_text("b")
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def record(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        synced.append((name, final.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    publish(partial, final)
    assert sorted(synced[:-1]) == [("a", False), ("b", False), ("inner", False), ("partial", False)]
    assert synced[-1] == (tmp_path.name, True)
    assert (final / "inner" / "b").read_text() == "b"


def test_stores_and_prepared_data_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("sdl_study.data.disk.sync_file", lambda path: seen.append(path.name))
    small.write_text(tmp_path / "out")
    assert {"examples.parquet", "manifest.json", "id_map.parquet"} < set(seen)
    open_store(PreparedData.load(tmp_path / "out"), {}, tmp_path / "stores")
    assert {"tokens.bin", "store.json", "tokenizer.json"} < set(seen)


def test_what_a_killed_process_left_of_a_store_is_removed(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    prepared = PreparedData.load(tmp_path / "out")
    store = open_store(prepared, {}, tmp_path / "stores")
    left = tmp_path / "stores" / f".{store.path.name}.partial-4000001"
    store.path.rename(left)
    open_store(prepared, {}, tmp_path / "stores")
    assert not left.exists()
