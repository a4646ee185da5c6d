"""Open the user's CSV files lazily, with an explicit schema, and say clearly what is wrong with one.

No message quotes a file's content but its column names, and those only where they look like names: a
file without a header has patients' words in its first row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from pipelines.shared.contents import DAMAGED_GZIP, is_packed, open_bytes, refuse_foreign
from pipelines.shared.forms import bare, visible
from sdl_study.data import parquet
from sdl_study.data.folders import os_error_number
from sdl_study.errors import UserError

# Number of the record, from 1, beside the user's columns: a name that no table has.
ROW = "__sdl_row__"
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOKED_AT = 1_000
_SHOWN = 20
_NAME = re.compile(r"[^\W\d][\w.\-]{0,39}")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Dialect:
    """How a file separates its fields.

    Args:
        separator: the sign between two fields.
        quoted: whether a quote begins a field that may hold separators and line breaks.
        spaced: whether a blank behind a separator is no part of the field.
    """

    separator: str = ","
    quoted: bool = True
    spaced: bool = False


_PLAIN = Dialect()


def find_table(folder: Path, stem: str) -> Path:
    """The file ``stem``.csv or .csv.gz in ``folder``, in lower or upper case.

    Raises:
        UserError: the folder or the file is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: folder is missing")
    names = [f"{name}{ending}" for ending in (".csv", ".csv.gz") for name in (stem, stem.upper())]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        for name in names:
            if (folder / name).is_dir():
                raise UserError(f"{folder / name}: is a folder; give the file of this name in its place")
        raise UserError(f"{folder}: file is missing: {' or '.join(names)}")
    return found[0]


def check_readable(path: Path) -> None:
    """Read one byte, so that a file without permission is told as such and by its own name.

    Raises:
        UserError: the system does not let the file be read.
    """
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def listed(names: Sequence[str], where: str = "the first row") -> str:
    """The column names for an error message, unless one of them might be something else than a name."""
    shown = [bare(name) for name in names]
    named = [name for name in shown if name]
    if len(set(named)) != len(named) or not all(_NAME.fullmatch(name) for name in named):
        return f"{where} does not look like short column names, each different, so it is not shown here"
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"found {', '.join(visible(name) or repr(name) for name in shown[:_SHOWN])}{more}"


def find_column(path: Path, names: Sequence[str], wanted: str, where: str = "the first row") -> str:
    """The one of ``names`` that is called ``wanted``; blanks and invisible characters in a name do not count.

    Raises:
        UserError: there is none, or there are several and none is written as wanted.
    """
    if wanted in names:
        return wanted
    found = [name for name in names if bare(name) == bare(wanted) != ""]
    if not found:
        raise UserError(f"{path}: column {wanted!r} is missing; {listed(names, where)}")
    if len(found) > 1:
        raise UserError(
            f"{path}: {len(found)} columns are called {wanted!r} but for blanks and invisible characters; "
            "rename all but one"
        )
    return found[0]


def read_header(path: Path, dialect: Dialect = _PLAIN) -> list[str]:
    """Column names as the file has them; several may be empty, as behind the last column of a spreadsheet.

    Raises:
        UserError: empty or unreadable file, no table of text, damaged compression, not UTF-8, a name twice, or
            columns separated by another sign.
    """
    check_readable(path)
    refuse_foreign(path, "csv")
    try:
        _, names = next(records(path, dialect), (0, []))
    except DAMAGED_GZIP:
        raise UserError(f"{path}: gzip file is truncated or damaged; copy it again") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(diagnose(path, dialect)) from None
    if not any(name.strip() for name in names):
        raise UserError(f"{path}: file is empty, not even a header")
    if len(names) == 1:
        for sign, name in _DELIMITERS.items():
            if sign != dialect.separator and sign in names[0]:
                expected = _DELIMITERS[dialect.separator]
                raise UserError(f"{path}: columns are separated by {name}; expected {expected}")
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    for place, name in enumerate(names):
        if bare(name) and first[name] != place:
            # The name stays unsaid: it may be a word of a patient's, where the header is missing.
            raise UserError(
                f"{path}: columns {first[name] + 1} and {place + 1} have the same name; is there a header?"
            )
    return names


def scan_table(path: Path, required: Sequence[str]) -> pl.LazyFrame:
    """Lazy frame of all columns as strings, with lower-case names.

    Whoever collects it must read all of them (and drop afterwards what is not wanted): polars refuses a
    row with more fields than the header only when no column is left out of the reading.

    Raises:
        UserError: unreadable or cut-off file, a required column is missing, the delimiter is not a comma,
            or one of the first thousand rows has another number of fields than the header.
    """
    header = read_header(path)
    names = [bare(name).lower() for name in header]
    for column in required:
        if column not in names:
            raise UserError(f"{path}: column {column!r} is missing; {listed(header)}")
    if names.count("") > 1:
        raise UserError(f"{path}: {names.count('')} columns have no name; remove them")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: two columns have the same name but for upper and lower case and blanks")
    _refuse_cut_off(path)
    check_width(path, len(header), rows=_LOOKED_AT)
    scan = pl.scan_csv(
        parquet.literal(path),
        schema=dict.fromkeys(header, pl.String),
        glob=False,
        empty_string_is_null=True,
        truncate_ragged_lines=False,
    )
    return scan.select(pl.col(name).alias(lower) for name, lower in zip(header, names, strict=True))


def check_width(path: Path, width: int, *, rows: int | None = None) -> None:
    """Look at the first ``rows`` rows, or at all: polars fills a short row with nulls and says nothing.

    Raises:
        UserError: naming the row.
    """
    try:
        for row, record in islice(records(path), rows):
            refuse_width(path, row, record, width)
    except (*DAMAGED_GZIP, UnicodeDecodeError, csv.Error):
        raise UserError(diagnose(path)) from None


def refuse_width(path: Path, row: int, record: Sequence[str], width: int) -> None:
    """Raises UserError for a row of another width; an empty line is no row."""
    if record and len(record) != width:
        raise UserError(f"{path}, row {row}: {len(record)} fields where the header has {width}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the reader's exceptions inside the block into one line that names file and row.

    Raises:
        UserError: truncated compression, bad UTF-8, or rows that do not fit the header.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if os_error_number(error) is not None:
            raise  # a full disk, say: nothing is wrong with the file that is read
        raise UserError(diagnose(path)) from None


def diagnose(path: Path, dialect: Dialect = _PLAIN) -> str:
    """Read the file again, slowly, to say where it is damaged. Never quotes the file's text."""
    width: int | None = None
    row, quotes = -1, [0]
    try:
        for row, record in records(path, dialect, errors="surrogateescape", quotes=quotes):
            where = f"{path}, row {row}" + (" (header)" if row == 0 else "")
            width = width or len(record)
            if any(_NOT_UTF8.search(field) for field in record):
                return f"{where}: not UTF-8 text; convert the file to UTF-8"
            if record and len(record) != width:
                return f"{where}: {len(record)} fields where the header has {width}"
            if dialect.quoted and quotes[0] < sum(
                2 + 2 * field.count('"') for field in record if '"' in field
            ):
                return f"{where}: a quote inside a field that is not quoted itself; quote the field, double the quote"
            quotes[0] = 0
    except DAMAGED_GZIP:
        return f"{path}: gzip file is truncated or damaged after row {max(row, 0)}; copy it again"
    except csv.Error:
        return (
            f"{path}, row {row + 1}: a quoted field of this row is not closed, or holds a quote that is not "
            "doubled"
        )
    return f"{path}: not readable as CSV; a quoted field may lack its closing quote"


def records(
    path: Path,
    dialect: Dialect = _PLAIN,
    *,
    errors: str = "strict",
    quotes: list[int] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every record; the header is number 0, and an empty line has no fields.

    Args:
        errors: what becomes of bytes that are no UTF-8, as in ``open``.
        quotes: its only element grows by the number of quotes read.
    """
    csv.field_size_limit(2**31 - 1)
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    with open_text(path, errors) as text:
        lines = text if quotes is None else _counted(text, quotes)
        yield from enumerate(
            csv.reader(
                lines,
                delimiter=dialect.separator,
                quoting=quoting,
                skipinitialspace=dialect.spaced,
                strict=True,
            )
        )


@contextmanager
def open_text(path: Path, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    """The lines of a file of UTF-8 text, packed or not, with their ends as they are."""
    with open_bytes(path) as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors=errors, newline="")


def _counted(lines: Iterable[str], quotes: list[int]) -> Iterator[str]:
    for line in lines:
        quotes[0] += line.count('"')
        yield line


def _refuse_cut_off(path: Path) -> None:
    """A packed file has a check sum; of a plain one only its end tells that it is whole."""
    if is_packed(path):
        return
    with path.open("rb") as stream:
        stream.seek(-1, io.SEEK_END)
        end = stream.read(1)
    if end != b"\n":
        raise UserError(
            f"{path}: does not end in a line break as PhysioNet's files do, so it is cut off; copy it again"
        )
