"""Read CSV, TSV, JSONL and Parquet tables with their row numbers.

CSV is read as Python's csv module reads it, every row checked against the header; empty lines and rows
whose fields are all empty are no rows. In TSV a quote is a character like any other, unless the file
needs quoting (a quoted field holds a tab or a line break) or uses it throughout without a fault.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipelines.shared.contents import DAMAGED_GZIP, refuse_foreign
from pipelines.shared.tables import (
    ROW,
    Dialect,
    check_readable,
    diagnose,
    open_text,
    read_header,
    records,
    refuse_width,
)
from pipelines.table.json_lines import field_names, read_json_lines
from sdl_study.data import parquet
from sdl_study.errors import UserError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_NAMES = ".csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz or .parquet"
_ROWS, _CELLS = 16_384, 4_000_000  # at most so many are held as Python objects at a time


def _kind(file: Path) -> str:
    ending = file.suffix.lower()
    kind = Path(file.stem).suffix.lower() if ending == ".gz" else ending
    if kind not in (".csv", ".tsv", ".jsonl", ".parquet") or (kind == ".parquet" and ending == ".gz"):
        check_readable(file)
        refuse_foreign(file, "csv")
        raise UserError(f"{file}: unknown kind of table; the name must end in {_NAMES}")
    return kind


def column_names(file: Path) -> list[str]:
    """Names of the table's columns.

    Raises:
        UserError: unknown kind of file, empty, unreadable or damaged file, wrong delimiter.
    """
    kind = _kind(file)
    check_readable(file)
    if kind in _SEPARATORS:
        names = read_header(file, _dialect(file, kind))
    elif kind == ".parquet":
        names = _parquet_names(file)
    else:
        names = field_names(file)
    if ROW in names:
        raise UserError(f"{file}: the column name {ROW} is used inside; rename the column")
    return names


def _parquet_names(file: Path) -> list[str]:
    refuse_foreign(file, "parquet")
    try:
        return parquet.scan(file).collect_schema().names()
    except pl.exceptions.DuplicateError:
        raise UserError(f"{file}: two columns have the same name; rename one of them") from None
    except (pl.exceptions.PolarsError, OSError):
        raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None


def read_table(file: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    """The table's ``columns`` and ``ROW``, the number of the record (JSONL: of the line) from 1.

    Args:
        columns: name that a column gets → its name in the file.

    Raises:
        UserError: damaged file, naming the row where that is known; JSONL with values of different
            types in a column.
    """
    kind = _kind(file)
    names = list(dict.fromkeys(columns.values()))
    if kind in _SEPARATORS:
        table = _read_delimited(file, _dialect(file, kind), names)
    elif kind == ".jsonl":
        table = read_json_lines(file, names)
    else:
        try:
            table = parquet.read(file, names).with_row_index(ROW, offset=1)
        except (pl.exceptions.PolarsError, OSError):
            raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None
    return table.select(ROW, *(pl.col(name).alias(called) for called, name in columns.items()))


def _dialect(file: Path, kind: str) -> Dialect:
    """Separator, quoting, and whether every name of the header but the first stands behind a blank."""
    refuse_foreign(file, "csv")
    dialect = Dialect(_SEPARATORS[kind], quoted=_quoted(file, kind))
    try:
        _, names = next(records(file, dialect, errors="surrogateescape"), (0, []))
    except (*DAMAGED_GZIP, csv.Error):
        return dialect  # the reader that follows says so, and where
    spaced = len(names) > 1 and all(name.startswith(" ") for name in names[1:])
    return replace(dialect, spaced=spaced)


def _quoted(file: Path, kind: str) -> bool:
    """Whether quotes enclose fields: always in CSV; for TSV see above."""
    if kind == ".csv":
        return True
    width, fault = 0, False
    try:
        with open_text(file, "surrogateescape") as lines:
            for line in lines:
                bare = line.rstrip("\r\n")
                width = width or bare.count("\t") + 1
                if bare and bare.count("\t") + 1 != width:
                    return True
                fault = fault or ('"' in bare and not _well_quoted(bare, width))
    except DAMAGED_GZIP:
        return True  # the reader that follows says so, and after which row
    return not fault


def _well_quoted(line: str, width: int) -> bool:
    try:
        return len(next(csv.reader([line], delimiter="\t", strict=True))) == width
    except csv.Error:
        return False


def _read_delimited(file: Path, dialect: Dialect, columns: Sequence[str]) -> pl.DataFrame:
    header = read_header(file, dialect)
    place_of = {name: place for place, name in enumerate(header)}
    named = 1 + max(place for place, name in enumerate(header) if name.strip())
    places = [place_of[name] for name in columns]
    parts = []
    numbers: list[int] = []
    rows: list[list[str]] = []
    try:
        for number, record in records(file, dialect):
            refuse_width(file, number, record, len(header))
            if any(record[named:]):
                raise UserError(
                    f"{file}, row {number}: a value behind the last column that has a name; name its column, or quote "
                    "the field that holds a separator"
                )
            if number and any(record):
                numbers.append(number)
                rows.append(record)
            if len(rows) >= _ROWS or len(rows) * len(header) >= _CELLS:
                parts.append(_strings(numbers, rows, columns, places))
                numbers, rows = [], []
    except (*DAMAGED_GZIP, UnicodeDecodeError, csv.Error):
        raise UserError(diagnose(file, dialect)) from None
    return pl.concat([*parts, _strings(numbers, rows, columns, places)])


def _strings(
    numbers: list[int], rows: list[list[str]], columns: Sequence[str], places: Sequence[int]
) -> pl.DataFrame:
    cells = [
        pl.Series(name, [row[place] for row in rows], dtype=pl.String)
        for name, place in zip(columns, places, strict=True)
    ]
    return pl.DataFrame([pl.Series(ROW, numbers, dtype=pl.UInt32), *cells])
