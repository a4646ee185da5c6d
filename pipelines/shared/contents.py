"""What a file is by its first bytes, whatever its name says: a wrong ending is told as such, not as damage."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Literal

from sdl_study.errors import UserError

DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_LOOKED_AT = 512
_AS_CSV = "save its sheet as CSV (UTF-8)"
_UNPACK = "unpack it"

# First bytes, what they are the first bytes of, and what to do with it.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (_GZIP, "a gzip file", _UNPACK),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", "copy it again"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Office file", _AS_CSV),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 file", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"\x1f\x9d", "a file packed with compress", _UNPACK),
    (b"\xff\x06\x00\x00sNaPpY", "a snappy file", _UNPACK),
    (_PARQUET, "a Parquet file", "let its name end in .parquet"),
    (b"PARE", "an encrypted Parquet file", "save it without encryption"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as Parquet"),
    (b"FEA1", "a Feather file", "save it as Parquet"),
    (b"ORC", "an ORC file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save it as Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "save its table as CSV"),
    (b"\x93NUMPY", "a NumPy array", "save it as Parquet"),
    *((bytes([0x80, version]), "a Python pickle", "save it as Parquet") for version in (2, 3, 4, 5)),
    (b"RDX", "an R data file", "save its table as CSV"),
    (b"%PDF", "a PDF", "give the table itself"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text", "save it as UTF-8"),
    (b"\xff\xfe", "UTF-16 text (as Excel's Unicode text is)", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
)
# The same for texts, in lower case and after blanks.
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"<!doctype html", "a web page (of a login?)", "download the file again"),
    (b"<html", "a web page (of a login?)", "download the file again"),
    (b"<?xml", "an XML file", "give the table itself"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS",
        "fetch the file itself with git lfs pull",
    ),
)
_SEPARATOR_LINE = re.compile(rb'"?sep=.?"?[\r\n]', re.IGNORECASE)


def is_packed(path: Path) -> bool:
    """Whether a file is packed with gzip, whatever it is called."""
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where they are packed."""
    return gzip.open(path, "rb") if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def refuse_foreign(path: Path, expected: Literal["parquet", "csv", "json"]) -> None:
    """Look at the first bytes, behind gzip for texts.

    Raises:
        UserError: the file is something else than expected, and what.
    """
    with path.open("rb") if expected == "parquet" else open_bytes(path) as stream:
        try:
            head = stream.read(_LOOKED_AT)
        except DAMAGED_GZIP:
            return  # whoever reads it says so, and after which row
    if expected == "parquet":
        if head and not head.startswith(_PARQUET):
            what, remedy = _kind_of(path, head) or ("not a Parquet file", "let the name end in what it is")
            raise UserError(f"{path}: is {what}, though its name ends in .parquet; {remedy}")
        return
    if found := _kind_of(path, head) or (_other_text(head) if expected == "csv" else None):
        what, remedy = found
        if is_packed(path) and remedy != _UNPACK:
            what, remedy = f"{what} packed with gzip", f"{_UNPACK}, and {remedy}"
        raise UserError(f"{path}: is {what}; {remedy}")


def _kind_of(path: Path, head: bytes) -> tuple[str, str] | None:
    for beginning, what, remedy in _BEGINNINGS:
        if head.startswith(beginning):
            workbook = beginning.startswith(b"PK") and _is_workbook(path)
            return ("an Excel workbook", _AS_CSV) if workbook else (what, remedy)
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if _is_utf16(head):
        return "UTF-16 text", "save it as UTF-8"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next(((what, remedy) for beginning, what, remedy in _TEXTS if text.startswith(beginning)), None)


def _other_text(head: bytes) -> tuple[str, str] | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _SEPARATOR_LINE.match(text):
        return "a table that begins with Excel's line sep=, which is no header", "remove that line"
    if re.match(rb'\{\s*"|\[\s*\{', text):
        return "JSON, not CSV", "write one object a line and let the name end in .jsonl"
    return None


def _is_utf16(head: bytes) -> bool:
    """Without a mark at its beginning: every second byte of Latin letters is zero."""
    halves = head[::2], head[1::2]
    return (
        len(head) > 3
        and any(half.count(0) > 0.6 * len(half) for half in halves)
        and min(half.count(0) for half in halves) < 0.2 * len(head)
    )


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any(name.startswith("xl/") for name in names) or "content.xml" in names
