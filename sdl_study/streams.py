"""Standard output and error that hold: a command goes on when nobody reads what it prints.

A closed pipe (``| head``), a hung-up terminal, a full disk behind ``>``, a stream that was closed from the start or
an encoding without the field's signs is no reason to lose a study's work.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from sdl_study.errors import UserError

# Whoever read has left: it knows that it did, and need not be told.
_READER_LEFT = {errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF}


class _Steady:
    """A text stream that writes until it fails once, and then drops what it is given."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write and flush, so that nothing is left over for the end."""
        if self.lost is None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, as ``write`` does."""
        self.write("")

    def _give_up(self, error: OSError) -> None:
        self.lost = error
        with suppress(
            OSError, ValueError
        ):  # a stream without a descriptor: there is nothing to point elsewhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # for what the stream still holds, and for other writers
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Inside the block nothing printed raises.

    Raises:
        UserError: at the end, where standard output could not be written for another reason than that its reader
            left, a full disk for example.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    out, err = (_Steady(_usable(stream)) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        out.flush()
        sys.stdout, sys.stderr = before
        if out.lost is not None and out.lost.errno not in _READER_LEFT:
            raise UserError(
                f"standard output could not be written ({out.lost.strerror}): what was printed from there on is lost"
            ) from None


def _open_closed_descriptors() -> None:
    """A descriptor closed from the start (``>&-``) would be the next file's, and be written into by others."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _usable(stream: TextIO | None) -> TextIO:
    """The stream, writing the signs that its encoding lacks as escapes; where there is none, one that nobody reads."""
    if stream is None or stream.closed:
        return io.StringIO()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
