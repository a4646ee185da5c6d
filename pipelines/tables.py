"""Open the user's CSV files lazily, with an explicit schema, and say clearly what is wrong with one."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from sdl_study.errors import UserError

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


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


def read_header(path: Path) -> list[str]:
    """Column names as the file has them.

    Raises:
        UserError: empty file, damaged compression, or not UTF-8.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            line = io.BufferedReader(stream).readline()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{path}: gzip file is truncated or damaged; copy it again") from None
    try:
        header = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}, row 0 (header): not UTF-8 text") from None
    if not header:
        raise UserError(f"{path}: file is empty, not even a header")
    return next(csv.reader([header]))


def scan_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> pl.LazyFrame:
    """Lazy frame of string columns with lower-case names: `required`, and those of `optional` it has.

    Raises:
        UserError: a required column is missing, or the delimiter is not a comma.
    """
    header = read_header(path)
    names = [name.strip().lower() for name in header]
    for column in required:
        if column not in names:
            _refuse_header(path, column, header)
    wanted = [*required, *(name for name in optional if name in names)]
    scan = pl.scan_csv(
        path,
        schema=dict.fromkeys(header, pl.String),
        glob=False,
        empty_string_is_null=True,
        truncate_ragged_lines=False,
    )
    return scan.select(pl.col(header[names.index(name)]).alias(name) for name in wanted)


def _refuse_header(path: Path, column: str, header: list[str]) -> None:
    if len(header) == 1:
        for sign, name in _DELIMITERS.items():
            if sign in header[0]:
                raise UserError(f"{path}: columns are separated by {name}; expected commas")
    raise UserError(f"{path}: column {column!r} is missing; found {', '.join(header)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the reader's exceptions inside the block into one line that names file and row.

    Raises:
        UserError: truncated compression, bad UTF-8, or rows that do not fit the header.
    """
    try:
        yield
    except pl.exceptions.PolarsError:
        raise UserError(diagnose(path)) from None
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or error.errno is None:
            raise UserError(diagnose(path)) from None
        raise


def diagnose(path: Path) -> str:
    """Read the file again, slowly, to say where it is damaged. Never quotes the file's text."""
    opener = gzip.open if path.suffix == ".gz" else open
    width: int | None = None
    row = 0
    try:
        with opener(path, "rb") as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            csv.field_size_limit(2**31 - 1)
            for row, record in enumerate(csv.reader(text)):
                width = width or len(record)
                if record and len(record) != width:
                    return f"{path}, row {row}: {len(record)} fields where the header has {width}"
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return f"{path}: gzip file is truncated or damaged after row {row}; copy it again"
    except UnicodeDecodeError:
        return f"{path}, after row {row}: not UTF-8 text; convert the file to UTF-8"
    except csv.Error as error:
        return f"{path}, after row {row}: not readable as CSV ({error})"
    return f"{path}: not readable as CSV; a quoted field may lack its closing quote"
