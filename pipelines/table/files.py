"""Read CSV, TSV, JSONL and Parquet tables with their row numbers.

CSV is read as Python's csv module reads it, every row checked against the header; empty lines and rows
whose fields are all empty are no rows. In TSV a quote is a character like any other, unless the file
needs quoting (a quoted field holds a tab or a line break) or uses it throughout without a fault.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.shared.tables import (
    DAMAGED_GZIP,
    ROW,
    check_readable,
    diagnose,
    open_text,
    read_header,
    records,
    refuse_width,
)
from sdl_study.data import parquet
from sdl_study.errors import UserError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_NAMES = ".csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz or .parquet"
_ROWS, _CELLS = 16_384, 4_000_000  # at most so many are held as Python objects at a time
_UNFIT = (OverflowError, TypeError, UnicodeEncodeError)
_LIST = "a list"
_WORDS = {str: "text", bool: "truth value", int: "number", float: "number", dict: "object", list: "list"}
_REFUSED = ("object", f"{_LIST} of objects", f"{_LIST} of lists")


def _kind(file: Path) -> str:
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if kind not in (".csv", ".tsv", ".jsonl", ".parquet") or (kind == ".parquet" and file.suffix == ".gz"):
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
        names = read_header(file, _SEPARATORS[kind], quoted=_quoted(file, kind))
    elif kind == ".parquet":
        try:
            names = parquet.scan(file).collect_schema().names()
        except (pl.exceptions.PolarsError, OSError):
            raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None
    else:
        names = list(dict.fromkeys(name for _, record in _json_records(file) for name in record))
        if not names:
            raise UserError(f"{file}: holds no record")
    if ROW in names:
        raise UserError(f"{file}: the column name {ROW} is used inside; rename the column")
    return names


def read_table(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    """`columns` of the table and `ROW`, the number of the record (JSONL: of the line) from 1.

    Raises:
        UserError: damaged file, naming the row where that is known; JSONL with values of different
            types in a column.
    """
    kind = _kind(file)
    if kind in _SEPARATORS:
        return _read_delimited(file, _SEPARATORS[kind], columns, quoted=_quoted(file, kind))
    if kind == ".jsonl":
        return _read_jsonl(file, columns)
    try:
        table = parquet.read(file, columns)
    except (pl.exceptions.PolarsError, OSError):
        raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None
    return table.select(columns).with_row_index(ROW, offset=1)


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


def _read_delimited(file: Path, separator: str, columns: Sequence[str], *, quoted: bool) -> pl.DataFrame:
    header = read_header(file, separator, quoted=quoted)
    place_of = {name: place for place, name in enumerate(header)}
    places = [place_of[name] for name in columns]
    parts = []
    numbers: list[int] = []
    rows: list[list[str]] = []
    try:
        for number, record in records(file, separator, quoted=quoted):
            refuse_width(file, number, record, len(header))
            if number and any(record):
                numbers.append(number)
                rows.append(record)
            if len(rows) >= _ROWS or len(rows) * len(header) >= _CELLS:
                parts.append(_strings(numbers, rows, columns, places))
                numbers, rows = [], []
    except (*DAMAGED_GZIP, UnicodeDecodeError, csv.Error):
        raise UserError(diagnose(file, separator, quoted=quoted)) from None
    return pl.concat([*parts, _strings(numbers, rows, columns, places)])


def _strings(
    numbers: list[int], rows: list[list[str]], columns: Sequence[str], places: Sequence[int]
) -> pl.DataFrame:
    cells = [
        pl.Series(name, [row[place] for row in rows], dtype=pl.String)
        for name, place in zip(columns, places, strict=True)
    ]
    return pl.DataFrame([pl.Series(ROW, numbers, dtype=pl.UInt32), *cells])


def _read_jsonl(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    rows: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for row, record in _json_records(file):
        rows.append(row)
        for name in columns:
            values[name].append(record.get(name))
    found = [_column(file, name, rows, values[name]) for name in columns]
    return pl.DataFrame([pl.Series(ROW, rows, dtype=pl.UInt32), *found])


def _json_records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not empty."""
    row = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for row, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if row == 1 else "utf-8")
                if line.strip():
                    yield row, _record(file, row, line)
    except DAMAGED_GZIP:
        raise UserError(f"{file}: gzip file is truncated or damaged after row {row}; copy it again") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}, row {row}: not UTF-8 text; convert the file to UTF-8") from None


def _record(file: Path, row: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # ValueError: also a number of more than 4,300 digits
        raise UserError(f"{file}, row {row}: not JSON") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, row {row}: not a JSON object")
    return record


def _column(file: Path, name: str, rows: Sequence[int], values: list[Any]) -> pl.Series:
    """One field of all records: texts, numbers, truth values, or lists of one of these; null where absent.

    Whole numbers and others make a column of numbers; every other mixture of types is refused. A null in
    a list stays: it is no label and no sentence, here as in Parquet.
    """
    _refuse_mixture(file, name, rows, values)
    lists = any(isinstance(value, list) for value in values)
    kinds = {type(item) for value in values for item in ((value or []) if lists else [value])} - {type(None)}
    dtype = pl.String if kinds <= {str} else pl.Boolean if bool in kinds else pl.Int64
    dtype = pl.Float64 if float in kinds else dtype
    dtype = pl.List(dtype) if lists else dtype
    try:
        return pl.Series(name, values, dtype=dtype)
    except _UNFIT as error:
        row = next(row for row, value in zip(rows, values, strict=True) if not _fits(value, dtype))
        what = (
            "half of a surrogate pair (\\ud800 to \\udfff) is no text"
            if isinstance(error, UnicodeEncodeError)
            else "a number beyond 64 bits; write it as a text"
        )
        raise UserError(f"{file}, row {row}, field {name}: {what}") from None


def _fits(value: Any, dtype: Any) -> bool:
    try:
        pl.Series([value], dtype=dtype)
    except _UNFIT:
        return False
    return True


def _refuse_mixture(file: Path, name: str, rows: Sequence[int], values: list[Any]) -> None:
    usual, first = "", 0
    for row, value in zip(rows, values, strict=True):
        for word in _described(value):
            if word in _REFUSED:
                raise UserError(
                    f"{file}, row {row}, field {name}: {word}; give a text, a number or a flat list of them"
                )
            both_lists = word.startswith(_LIST) and usual.startswith(_LIST)
            if not usual or (both_lists and usual == _LIST):
                usual, first = word, row
            elif word not in (usual, _LIST if both_lists else usual):
                raise UserError(
                    f"{file}, row {row}, field {name}: {word} where row {first} has {usual}; "
                    "give one type in every row"
                )


def _described(value: Any) -> set[str]:
    """What a value is, in words; a list by its items."""
    if value is None:
        return set()
    if not isinstance(value, list):
        return {_WORDS[type(value)]}
    return {f"{_LIST} of {_WORDS[type(item)]}s" for item in value if item is not None} or {_LIST}
