"""Where the splits come from: a hash of the group, published id lists, or a published table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sdl_study.errors import UserError

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}

_EDIN_NAMES = {"train": "train", "val": "dev", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class PublishedSplit:
    """Split by document id, as somebody published it; documents that it does not list are left out."""

    split_of: Mapping[str, str]
    origin: str


def hash_split(group: str, shares: Mapping[str, float] = DEFAULT_SHARES) -> str:
    """Split of a group (patient, image) by the SHA-256 of its name: the same everywhere and always."""
    position = int.from_bytes(hashlib.sha256(f"sdl-split:{group}".encode()).digest()[:8], "big") / 2**64
    bound = 0.0
    for split, share in shares.items():
        bound += share
        if position < bound:
            return split
    return next(reversed(list(shares)))


def hash_splits(groups: Iterable[str], shares: Mapping[str, float] = DEFAULT_SHARES) -> dict[str, str]:
    """`hash_split` of every different group."""
    return {group: hash_split(group, shares) for group in set(groups)}


def read_id_lists(folder: Path, labels: str) -> PublishedSplit:
    """Read `{train,dev,test}_{full,50}_hadm_ids.csv` (one id a line, no header) of CAML or Nguyen et al.

    Raises:
        UserError: a list is missing or empty, a line is not an id, an id is listed twice.
    """
    kind = "50" if labels == "top50" else "full"
    split_of: dict[str, str] = {}
    for split in ("train", "dev", "test"):
        path = folder / f"{split}_{kind}_hadm_ids.csv"
        if not path.is_file():
            raise UserError(f"{path}: id list is missing; --split ids:DIR needs train, dev and test lists")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            name = line.strip()
            if not name:
                continue
            if not name.isdigit():
                raise UserError(f"{path}, line {number}: not an admission id (one id a line)")
            if name in split_of:
                raise UserError(f"{path}, line {number}: the id is listed already in {split_of[name]!r}")
            split_of[name] = split
        if split not in split_of.values():
            raise UserError(f"{path}: lists no id; the split {split!r} would be empty")
    return PublishedSplit(split_of, f"published id lists ({kind}), admissions by list")


def read_split_table(path: Path) -> PublishedSplit:
    """Read a Feather file with columns `_id` and `split` (train | val | test), as Edin et al. publish it.

    Raises:
        UserError: missing or unreadable file, missing column, unknown split name, an id twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: split table is missing")
    try:
        table = pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError):
        raise UserError(f"{path}: split table is not a readable Feather (Arrow IPC) file") from None
    for column in ("_id", "split"):
        if column not in table.columns:
            raise UserError(f"{path}: column {column!r} is missing; found {', '.join(table.columns)}")
    number = pl.col("_id").cast(pl.String).cast(pl.Int64, strict=False).cast(pl.String)
    table = table.select(number, pl.col("split").cast(pl.String)).with_row_index("row", offset=1)
    broken = table.filter(pl.col("_id").is_null())
    if broken.height:
        raise UserError(f"{path}, row {broken['row'][0]}, field _id: not an admission id")
    twice = table.filter(pl.col("_id").is_duplicated())
    if twice.height:
        raise UserError(f"{path}, row {twice['row'][1]}, field _id: the id is listed more than once")
    unknown = table.filter(~pl.col("split").is_in(list(_EDIN_NAMES)).fill_null(False))
    if unknown.height:
        raise UserError(f"{path}, row {unknown['row'][0]}, field split: unknown; expected train, val or test")
    pairs = zip(table["_id"].to_list(), table["split"].to_list(), strict=True)
    return PublishedSplit(
        {name: _EDIN_NAMES[split] for name, split in pairs}, "published table, admissions by _id"
    )
