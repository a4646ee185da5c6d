"""Open the user's CSV files lazily, with an explicit schema, and say clearly what is wrong with one."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import polars as pl

from sdl_study.data.writer import os_error_number
from sdl_study.errors import UserError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOKED_AT = 1_000
_DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)


def find_table(folder: Path, stem: str) -> Path:
    """The file `stem`.csv or .csv.gz in `folder`, in lower or upper case.

    Raises:
        UserError: the folder or the file is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: folder is missing")
    names = [f"{name}{ending}" for ending in (".csv", ".csv.gz") for name in (stem, stem.upper())]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise UserError(f"{folder}: file is missing: {' or '.join(names)}")
    return found[0]


def read_header(path: Path, separator: str = ",") -> list[str]:
    """Column names as the file has them.

    Raises:
        UserError: empty file, damaged compression, not UTF-8, or columns separated by another sign.
    """
    try:
        with _open(path) as stream:
            line = stream.readline()
    except _DAMAGED_GZIP:
        raise UserError(f"{path}: gzip file is truncated or damaged; copy it again") from None
    try:
        header = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}, row 0 (header): not UTF-8 text; convert the file to UTF-8") from None
    if not header.strip():
        raise UserError(f"{path}: file is empty, not even a header")
    names = next(csv.reader([header], delimiter=separator))
    if len(names) == 1:
        for sign, name in _DELIMITERS.items():
            if sign != separator and sign in header:
                expected = _DELIMITERS[separator]
                raise UserError(f"{path}: columns are separated by {name}; expected {expected}")
    return names


def scan_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> pl.LazyFrame:
    """Lazy frame of string columns with lower-case names: `required`, and those of `optional` it has.

    Raises:
        UserError: a required column is missing, the delimiter is not a comma, or one of the first
            thousand rows has another number of fields than the header.
    """
    header = read_header(path)
    names = [name.strip().lower() for name in header]
    for column in required:
        if column not in names:
            raise UserError(f"{path}: column {column!r} is missing; found {', '.join(header)}")
    check_width(path, len(header))
    wanted = [*required, *(name for name in optional if name in names)]
    scan = pl.scan_csv(
        path,
        schema=dict.fromkeys(header, pl.String),
        glob=False,
        empty_string_is_null=True,
        truncate_ragged_lines=False,
    )
    return scan.select(pl.col(header[names.index(name)]).alias(name) for name in wanted)


def check_width(path: Path, width: int, separator: str = ",") -> None:
    """Look at the first thousand rows: polars lets a row of another width pass in columns it does not read.

    Raises:
        UserError: naming the row.
    """
    row = 0
    try:
        for row, record in islice(_records(path, separator), _LOOKED_AT):
            if record and len(record) != width:
                raise UserError(f"{path}, row {row}: {len(record)} fields where the header has {width}")
    except (*_DAMAGED_GZIP, UnicodeDecodeError, csv.Error):
        raise UserError(diagnose(path, separator)) from None


@contextmanager
def reading(path: Path, separator: str = ",") -> Iterator[None]:
    """Turn the reader's exceptions inside the block into one line that names file and row.

    Raises:
        UserError: truncated compression, bad UTF-8, or rows that do not fit the header.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if os_error_number(error) is not None:
            raise  # a full disk, say: nothing is wrong with the file that is read
        raise UserError(diagnose(path, separator)) from None


def diagnose(path: Path, separator: str = ",") -> str:
    """Read the file again, slowly, to say where it is damaged. Never quotes the file's text."""
    width: int | None = None
    row = 0
    try:
        for row, record in _records(path, separator):
            width = width or len(record)
            if record and len(record) != width:
                return f"{path}, row {row}: {len(record)} fields where the header has {width}"
    except _DAMAGED_GZIP:
        return f"{path}: gzip file is truncated or damaged after row {row}; copy it again"
    except UnicodeDecodeError:
        return f"{path}, after row {row}: not UTF-8 text; convert the file to UTF-8"
    except csv.Error:
        return f"{path}, after row {row}: not readable as CSV; a quoted field may lack its closing quote"
    return f"{path}: not readable as CSV; a quoted field may lack its closing quote"


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every record; the header is number 0."""
    csv.field_size_limit(2**31 - 1)
    with _open(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        yield from enumerate(csv.reader(text, delimiter=separator))
