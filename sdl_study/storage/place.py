"""A place on an object storage: ``s3://bucket/prefix``, and the few things that are done there.

By pyarrow, which Ray Train and MLflow bring along: one S3 client for the project, in C++, without the interpreter's
lock while it waits. (s3fs would come with a second client that pins botocore to one version.) Credentials and address
come from the environment, by AWS's own names, and stand in no file, line or error.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from sdl_study.errors import UserError

SCHEME = "s3://"
_CHUNK = 1 << 22
_CONNECT_SECONDS = 5.0
_ATTEMPTS = 3
_READS, _READ_AGAIN_SECONDS = 5, 0.2
_AWS_ERROR = re.compile(r"AWS Error (\w+)")


class StorageError(Exception):
    """The storage did not take or give something; the text is the kind of error, never what the server wrote."""


@dataclass(frozen=True)
class Found:
    """An object's size in bytes, and when it was written by the storage's own clock, in seconds."""

    size: int
    time: float


def check_url(url: str) -> str:
    """The URL of a storage as it is kept: bucket and prefix.

    Raises:
        UserError: another scheme, no bucket, or something in it that belongs into the environment.
    """
    if not url.startswith(SCHEME):
        raise UserError(
            f"--storage {_shown(url)}: write it as s3://bucket/prefix; other storages are not known"
        )
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if re.search(r"[@?#]", url):
        raise UserError(
            f"--storage {_shown(url)}: bucket and prefix alone; credentials and endpoint come from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise UserError(f"--storage {_shown(url)}: {bucket!r} is no bucket's name")
    parts = [part for part in prefix.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise UserError(f"--storage {_shown(url)}: a prefix has no '.' or '..'")
    return "/".join([SCHEME + bucket, *parts])


def _shown(url: str) -> str:
    """What may be secret is dots."""
    return re.sub(r"://[^/]*@", "://...@", url.partition("?")[0])


class Place:
    """A prefix of a bucket.

    Args:
        url: ``s3://bucket/prefix``.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)

    def below(self, name: str) -> Place:
        """The prefix below this one."""
        return Place(f"{self.url}/{name}")

    @cached_property
    def _files(self) -> Any:
        """The client; made when the storage is first asked."""
        from pyarrow import fs

        own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None and own is None:
            region = fs.resolve_s3_region(self._bucket)
        return fs.S3FileSystem(
            endpoint_override=own,
            region=region,
            connect_timeout=_CONNECT_SECONDS,
            allow_delayed_open=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )

    @property
    def _bucket(self) -> str:
        return self.url.removeprefix(SCHEME).partition("/")[0]

    def _key(self, name: str) -> str:
        return f"{self.url.removeprefix(SCHEME)}/{name}"

    def put(self, name: str, content: bytes) -> None:
        """Write an object; it is there whole, or as it was before.

        Raises:
            StorageError: it is not there.
        """
        with told(), self._files.open_output_stream(self._key(name)) as stream:
            stream.write(content)

    def put_file(
        self, name: str, file: IO[bytes], start: int, size: int, goes_on: Callable[[], None]
    ) -> None:
        """Write ``size`` bytes of an open file, from ``start`` on, as an object that nothing names yet.

        Where this is broken off, half an object may be left under the name: whoever finds it there compares sizes.

        Args:
            name: the object's.
            file: what is read.
            start, size: bytes.
            goes_on: called before every part; raises where there is no time left.

        Raises:
            StorageError: it is not there whole.
        """
        file.seek(start)
        with told(), self._files.open_output_stream(self._key(name)) as stream:
            left = size
            while left:
                goes_on()
                part = file.read(min(left, _CHUNK))
                if not part:
                    raise StorageError("a file became shorter")
                stream.write(part)
                left -= len(part)

    def get(self, name: str) -> bytes | None:
        """A small object; None where there is none.

        Raises:
            StorageError: the storage does not answer.
        """
        try:
            with told(), self._files.open_input_stream(self._key(name)) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def parts(self, name: str) -> Iterator[bytes]:
        """An object's content, piece by piece.

        Raises:
            FileNotFoundError: there is none.
            StorageError: the storage does not answer.
        """
        with told(), self._files.open_input_stream(self._key(name)) as stream:
            while part := stream.read(_CHUNK):
                yield part

    def json(self, name: str) -> Any:
        """A small object of JSON; None where there is none.

        It is read again where it is none: pyarrow asks for an object's size, then for so many bytes, and meanwhile it
        may have been written anew, and longer.

        Raises:
            UserError: it is no JSON.
            StorageError: the storage does not answer.
        """
        for _ in range(_READS):
            content = self.get(name)
            with suppress(ValueError):
                return None if content is None else json.loads(content)
            time.sleep(_READ_AGAIN_SECONDS)
        raise UserError(f"{self.url}/{name}: damaged: not JSON; choose another prefix")

    def remove(self, name: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            StorageError: the storage does not answer.
        """
        try:
            with told():
                self._files.delete_file(self._key(name))
        except FileNotFoundError:
            return

    def list(self, folder: str) -> dict[str, Found]:
        """The objects below a folder, by their names in it.

        Raises:
            StorageError: the storage does not answer.
        """
        from pyarrow import fs

        base = self._key(folder)
        with told():
            found = self._files.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return {
            info.path.removeprefix(base + "/"): Found(info.size, info.mtime_ns / 1e9)
            for info in found
            if info.type == fs.FileType.File
        }


@contextmanager
def told() -> Iterator[None]:
    """What pyarrow raises in the block, in one word."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        found = _AWS_ERROR.search(str(error))
        raise StorageError(found[1].lower() if found else type(error).__name__) from None
