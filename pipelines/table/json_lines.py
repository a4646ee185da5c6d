"""Read JSON Lines: one object a line; a field has one type in all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.shared.contents import DAMAGED_GZIP, open_bytes, refuse_foreign
from pipelines.shared.tables import ROW
from sdl_study.errors import UserError

_UNFIT = (OverflowError, TypeError, UnicodeEncodeError)
_LIST = "a list"
_INFINITE = "an infinite number"
_WORDS = {str: "text", bool: "truth value", int: "number", float: "number", list: "list"}
_REFUSED = ("object", f"{_LIST} of objects", f"{_LIST} of lists")


class _NameTwice(dict[str, Any]):
    """An object with two fields of one name."""


def field_names(file: Path) -> list[str]:
    """Names of all fields, in the order in which they appear.

    Raises:
        UserError: damaged file, or one without a record.
    """
    names = list(dict.fromkeys(name for _, record in _records(file) for name in record))
    if not names:
        raise UserError(f"{file}: holds no record")
    return names


def read_json_lines(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    """``columns`` of all records and ``ROW``, the number of the line from 1; NaN is null.

    Raises:
        UserError: damaged file, or values of different types in a column, naming the row.
    """
    rows: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for row, record in _records(file):
        rows.append(row)
        for name in columns:
            values[name].append(record.get(name))
    found = [_column(file, name, rows, values[name]) for name in columns]
    return pl.DataFrame([pl.Series(ROW, rows, dtype=pl.UInt32), *found])


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not empty."""
    row = 0
    refuse_foreign(file, "json")
    try:
        with open_bytes(file) as stream:
            for row, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if row == 1 else "utf-8")
                if line.strip():
                    yield row, _record(file, row, line)
    except DAMAGED_GZIP:
        raise UserError(f"{file}: gzip file is truncated or damaged after row {row}; copy it again") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}, row {row}: not UTF-8 text; convert the file to UTF-8") from None


def _record(file: Path, row: int, line: str) -> dict[str, Any]:
    if row == 1 and line.lstrip().startswith("["):
        raise UserError(f"{file}: is one list in JSON; write one object a line (JSON Lines)")
    try:
        record = json.loads(line, parse_constant=_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError):  # ValueError: also a number of more than 4,300 digits
        raise UserError(f"{file}, row {row}: not JSON") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, row {row}: not a JSON object")
    if isinstance(record, _NameTwice):
        raise UserError(f"{file}, row {row}: two fields have the same name")
    return record


def _constant(word: str) -> float | None:
    """pandas' NaN is a missing value; an infinite number stays one, to be told as such."""
    return None if word == "NaN" else float(word)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    return record if len(record) == len(pairs) else _NameTwice(record)


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
        return {_word(value)}
    return {f"{_LIST} of {_word(item)}s" for item in value if item is not None} or {_LIST}


def _word(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return _INFINITE
    return _WORDS.get(type(value), "object")
