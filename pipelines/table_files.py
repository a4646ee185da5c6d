"""Read CSV, TSV, JSONL and Parquet tables with their row numbers."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from pipelines.tables import check_width, read_header, reading
from sdl_study.errors import UserError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_NAMES = ".csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz or .parquet"


def _kind(file: Path) -> str:
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if kind not in (".csv", ".tsv", ".jsonl", ".parquet") or (kind == ".parquet" and file.suffix == ".gz"):
        raise UserError(f"{file}: unknown kind of table; the name must end in {_NAMES}")
    return kind


def column_names(file: Path) -> list[str]:
    """Names of the table's columns.

    Raises:
        UserError: unknown kind of file, empty or damaged file, wrong delimiter.
    """
    kind = _kind(file)
    if kind in _SEPARATORS:
        header = read_header(file, _SEPARATORS[kind])
        if len(set(header)) != len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise UserError(f"{file}: column {twice!r} stands twice in the header")
        return header
    if kind == ".parquet":
        try:
            return list(pl.read_parquet_schema(file))
        except (pl.exceptions.PolarsError, OSError):
            raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None
    return list(_read_jsonl(file).columns)


def read_table(file: Path, columns: list[str]) -> pl.DataFrame:
    """`columns` of the table and `row`, the number of the record from 1.

    Raises:
        UserError: damaged file, naming the row where that is known.
    """
    kind = _kind(file)
    if kind in _SEPARATORS:
        separator = _SEPARATORS[kind]
        header = read_header(file, separator)
        check_width(file, len(header), separator)
        with reading(file, separator):
            # Every column is read, not only those asked for: a row of another width is a mistake here.
            table = pl.read_csv(
                file,
                separator=separator,
                schema=dict.fromkeys(header, pl.String),
                truncate_ragged_lines=False,
                glob=False,
            )
    elif kind == ".jsonl":
        table = _read_jsonl(file)
    else:
        try:
            table = pl.read_parquet(file, columns=columns)
        except (pl.exceptions.PolarsError, OSError):
            raise UserError(f"{file}: not readable as Parquet; the file may be cut off") from None
    return table.select(columns).with_row_index("row", offset=1)


def _read_jsonl(file: Path) -> pl.DataFrame:
    import gzip
    import zlib

    opener = gzip.open if file.suffix == ".gz" else open
    records, row = [], 0
    try:
        with opener(file, "rt", encoding="utf-8") as stream:
            for row, line in enumerate(stream, start=1):
                if line.strip():
                    records.append(_record(file, row, line))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(f"{file}: gzip file is truncated or damaged after row {row}; copy it again") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}, after row {row}: not UTF-8 text; convert the file to UTF-8") from None
    if not records:
        raise UserError(f"{file}: holds no record")
    names = dict.fromkeys(name for record in records for name in record)
    try:
        return pl.DataFrame({name: _column([r.get(name) for r in records]) for name in names})
    except (pl.exceptions.PolarsError, TypeError):
        raise UserError(f"{file}: a field has values of different types in different rows") from None


def _record(file: Path, row: int, line: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        raise UserError(f"{file}, row {row}: not JSON") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, row {row}: not a JSON object")
    return record


def _column(values: list[object]) -> pl.Series:
    """Lists are flattened one level where they are lists of lists: labels per sentence become the document's."""
    if any(isinstance(value, list) for value in values):
        return pl.Series([_flat(value) for value in values], dtype=pl.List(pl.String), strict=False)
    return pl.Series(values, strict=True)


def _flat(value: object) -> list[str] | None:
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    flat: list[str] = []
    for item in items:
        if isinstance(item, list):
            flat.extend(str(inner) for inner in item)
        else:
            flat.append(str(item))
    return flat
