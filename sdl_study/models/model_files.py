"""The files of a model's folder, opened through one door: what is no file of a model is told in one line.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from sdl_study.errors import UserError

_POINTER = b"version https://git-lfs.github.com/spec/"


def is_there(path: Path) -> bool:
    """Whether a folder lists a file, be it a link to nothing: opening that says more than that it is missing."""
    return os.path.lexists(path)


def files_like(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files of a folder by patterns of their names, links to nothing among them."""
    return sorted(path for path in folder.iterdir() if any(fnmatch(path.name, like) for like in patterns))


def open_file(path: Path) -> BinaryIO:
    """A file of a model, at its start.

    Raises:
        UserError: it cannot be read, is a link to nothing (a hub cache copied without its blobs), or stands for a
            file that Git LFS has not fetched.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: is a link to {path.readlink()}, which is not there; copy the model with what its links name "
                "(cp -rL), or download it again"
            ) from None
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if file.read(len(_POINTER)) == _POINTER:
        file.close()
        raise UserError(f"{path}: is a Git LFS pointer, not the file itself; fetch it with git lfs pull")
    file.seek(0)
    return file


def read_object(path: Path) -> dict[str, Any]:
    """The object in one of a model's JSON files.

    Raises:
        UserError: as ``open_file``, or it is not JSON.
    """
    with open_file(path) as file:
        content = file.read()
    try:
        found = json.loads(content)
    except ValueError:  # UnicodeDecodeError is one too
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged: not a JSON object; download it again")
    return found
