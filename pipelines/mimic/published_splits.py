"""Splits of MIMIC as others published them: lists of admission ids, or a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.shared.tables import ROW, check_readable, listed
from sdl_study.errors import UserError

TOP_50_FILE = "TOP_50_CODES.csv"
# As ``codes.cast_ids`` has it: pandas writes ids as "100001.0" where one was missing.
_ID = re.compile(r"([0-9]{1,18})(\.0*)?")
_CODE = re.compile(r"[A-Z0-9]{1,7}")
_EDIN_NAMES = {"train": "train", "val": "dev", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class PublishedSplit:
    """Split by document id, as somebody published it; documents that it does not list are left out.

    ``files`` are those it was read from; ``top_50`` the codes of TOP_50_CODES.csv beside them, without dots.
    """

    split_of: Mapping[str, str]
    origin: str
    files: tuple[Path, ...] = ()
    top_50: tuple[str, ...] = ()


def read_id_lists(folder: Path, labels: str) -> PublishedSplit:
    """Read ``{train,dev,test}_{full,50}_hadm_ids.csv`` (one id a line, no header) of CAML or Nguyen et al.

    Raises:
        UserError: a list is missing or empty, a line is not an id, an id is listed twice.
    """
    kind = "50" if labels == "top50" else "full"
    split_of: dict[str, str] = {}
    files = []
    for split in ("train", "dev", "test"):
        path = folder / f"{split}_{kind}_hadm_ids.csv"
        if not path.is_file():
            raise UserError(f"{path}: id list is missing; --split ids:DIR needs train, dev and test lists")
        files.append(path)
        for number, line in _lines(path):
            found = _ID.fullmatch(line)
            if not found:
                raise UserError(f"{path}, line {number}: not an admission id (one id a line)")
            name = str(int(found[1]))
            if name in split_of:
                raise UserError(f"{path}, line {number}: the id is listed already in {split_of[name]!r}")
            split_of[name] = split
        if split not in split_of.values():
            raise UserError(f"{path}: lists no id; the split {split!r} would be empty")
    top = folder / TOP_50_FILE
    codes = _top_50(top) if kind == "50" and top.is_file() else ()
    origin = f"published id lists ({kind}), admissions by list"
    return PublishedSplit(split_of, origin, (*files, *([top] if codes else [])), codes)


def _top_50(path: Path) -> tuple[str, ...]:
    codes = []
    for number, line in _lines(path):
        code = line.strip('"').replace(".", "").upper()
        if not _CODE.fullmatch(code):
            raise UserError(f"{path}, line {number}: not an ICD code (one code a line)")
        codes.append(code)
    return tuple(codes)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank."""
    check_readable(path)
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: not UTF-8 text") from None
        if line:
            yield number, line


def read_split_table(path: Path) -> PublishedSplit:
    """Read a Feather file with columns ``_id`` and ``split`` (train | val | test), as Edin et al. publish it.

    Raises:
        UserError: missing or unreadable file, missing column, unknown split name, an id twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: split table is missing")
    check_readable(path)
    try:
        with path.open("rb") as stream:
            table = pl.read_ipc(stream)
    except (pl.exceptions.PolarsError, OSError):
        raise UserError(f"{path}: split table is not a readable Feather (Arrow IPC) file") from None
    for column in ("_id", "split"):
        if column not in table.columns:
            raise UserError(f"{path}: column {column!r} is missing; {listed(table.columns, 'its schema')}")
        if table[column].dtype.is_nested() or table[column].dtype in (pl.Binary, pl.Object):
            raise UserError(f"{path}, field {column}: neither texts nor numbers")
    text = pl.col("_id").cast(pl.String).str.strip_chars().str.extract(f"^{_ID.pattern}$")
    number = text.cast(pl.Int64, strict=False).cast(pl.String)
    table = table.select(number, pl.col("split").cast(pl.String)).with_row_index(ROW, offset=1)
    broken = table.filter(pl.col("_id").is_null())
    if broken.height:
        raise UserError(f"{path}, row {broken[ROW][0]}, field _id: not an admission id")
    twice = table.filter(~pl.col("_id").is_first_distinct())
    if twice.height:
        raise UserError(f"{path}, row {twice[ROW][0]}, field _id: the id is listed more than once")
    unknown = table.filter(~pl.col("split").is_in(list(_EDIN_NAMES)).fill_null(value=False))
    if unknown.height:
        raise UserError(f"{path}, row {unknown[ROW][0]}, field split: unknown; expected train, val or test")
    pairs = zip(table["_id"].to_list(), table["split"].to_list(), strict=True)
    split_of = {name: _EDIN_NAMES[split] for name, split in pairs}
    return PublishedSplit(split_of, "published table, admissions by _id", (path,))
