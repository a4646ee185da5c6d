"""The one writer: a file is there whole, under its name and on the disk, or not at all.

Content goes to a temporary name beside the file, is flushed to the disk, renamed, and the folder is flushed too:
after a power cut there is the old file or the new one, never an empty one under the new name.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sdl_study.errors import UserError

# A folder cannot be flushed on every file system; its files can.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}
# As a path, s3://bucket has lost a stroke.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/")


@contextmanager
def written_whole(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A binary file to write into, which becomes ``path`` when the block ends without an exception.

    Args:
        path: the file; its folder is made if it is not there.
        private: readable by the owner alone, from the first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # what went wrong is told by the exception that is on its way
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a whole file."""
    with written_whole(path, private=private) as file:
        file.write(content)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a whole file of UTF-8 text."""
    write_bytes(path, text.encode(), private=private)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write a whole file of JSON, the same bytes for the same content."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    write_text(path, text + "\n", private=private)


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote.

    Raises:
        UserError: the file is not JSON any more.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(
            f"{path}: damaged: not JSON; put it back from a copy, or start again under --name"
        ) from None


def check_local(path: str | Path, what: str) -> None:
    """Refuse an address (``s3://bucket/x``) where a path of this machine is asked, which a folder ``s3:`` would become.

    Raises:
        UserError: one line.
    """
    found = _ADDRESS.match(str(path))
    if found:
        raise UserError(
            f"{what} {found['scheme']}://...: is a path on this machine; a study is kept on an object storage by study "
            "--storage s3://bucket/prefix"
        )


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, without which a rename may not survive a power cut."""
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def sync_file(file: Path) -> None:
    """Flush a file that somebody else wrote: a library that takes a path."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
