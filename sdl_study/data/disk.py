"""Writing that survives a full disk and a power loss: arrays without holes, files synced before their rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from sdl_study.files import sync_file, sync_folder

_THREADS = 8  # thousands of images one after the other take seconds


def write_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike, parts: Iterable[np.ndarray]) -> None:
    """Write a .npy file of ``shape`` from front to back, ``parts`` being its rows in order.

    A memory map is no way to write it: its file begins as a hole, and a disk that is full when the hole is
    filled kills the process with SIGBUS. Nor is np.save, whose error then has no number.

    Raises:
        OSError: the disk is full (said before the first part is made, where it is known) or the like.
        ValueError: the parts have more or fewer rows than ``shape``.
    """
    dtype = np.dtype(dtype)
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    disk = shutil.disk_usage(path.parent)
    if disk.total and disk.free < needed:  # a file system that does not count says 0
        numbers = f"{needed / 1e9:,.3f} GB are needed and {disk.free / 1e9:,.3f} GB are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {numbers}", str(path))
    rows = 0
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype=dtype).data)
            rows += len(part)
    if rows != shape[0]:
        raise ValueError(f"{rows} rows for an array of {shape[0]}")


def publish(partial: Path, final: Path) -> None:
    """Rename the finished folder ``partial`` to ``final``, after all its files have reached the disk.

    Without this a power loss may leave the new name and empty files behind it.

    Raises:
        OSError: the disk is full, or ``final`` is in the way.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_flush, [*partial.rglob("*"), partial]))
    partial.rename(final)
    sync_folder(final.parent)


def _flush(path: Path) -> None:
    (sync_folder if path.is_dir() else sync_file)(path)
