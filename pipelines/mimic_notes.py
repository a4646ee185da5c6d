"""Discharge summaries of MIMIC: streamed from the raw table, one text per admission.

NOTEEVENTS is 3.8 GB and MIMIC-IV's discharge table 3.3 GB: neither is ever held in memory. The
summaries pass once into a spool (Parquet) and from there, chunk by chunk, into the data set; only
the rows of admissions with several rows (addenda) are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from pipelines.mimic_codes import Release, cast_ids
from pipelines.tables import find_table, reading, scan_table
from sdl_study.errors import UserError

TextRule = Literal["raw", "caml"]
_CHUNK = 4_096


@dataclass(frozen=True)
class NoteTable:
    """Columns of a release's note table, and the order of an admission's rows."""

    required: tuple[str, ...]
    order: tuple[str, ...]
    id_column: str


_TABLES: dict[Release, NoteTable] = {
    "mimic-iii": NoteTable(
        ("row_id", "subject_id", "hadm_id", "chartdate", "charttime", "category", "description", "text"),
        ("_addendum", "charttime", "chartdate", "_number"),
        "row_id",
    ),
    "mimic-iv": NoteTable(
        ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "text"),
        ("_addendum", "_number", "charttime"),
        "note_id",
    ),
}


def notes_file(source: Path, release: Release) -> Path:
    """The table with the notes; raises UserError when it is missing."""
    if release == "mimic-iii":
        return find_table(source, "noteevents")
    return find_table(source / "note", "discharge")


class Notes:
    """Discharge summaries in a spool, with which rows belong to which admission.

    `admissions` has one row per admission in the order of the file: hadm_id, subject_id, lead (spool
    row of its first note in the file), rows (its spool rows in reading order).
    """

    def __init__(self, spool: Path, admissions: pl.DataFrame) -> None:
        self.spool = spool
        self.admissions = admissions

    @classmethod
    def read(cls, source: Path, release: Release, spool: Path) -> Notes:
        """Stream the discharge summaries of `source` into the file `spool`.

        Raises:
            UserError: missing or damaged file or column, no discharge summary in it, note ids twice.
        """
        path = notes_file(source, release)
        table = _TABLES[release]
        scan = scan_table(path, table.required).with_row_index("row", offset=1)
        if release == "mimic-iii":
            scan = scan.filter(pl.col("category").str.strip_chars() == "Discharge summary")
        scan = scan.filter(pl.col("hadm_id").is_not_null() & pl.col("text").is_not_null())
        with reading(path):
            scan.sink_parquet(
                spool, compression="uncompressed", statistics=False, row_group_size=_CHUNK, engine="streaming"
            )
        keys = pl.read_parquet(spool, columns=["row", *(c for c in table.required if c != "text")])
        if not keys.height:
            what = "no row of category 'Discharge summary'" if release == "mimic-iii" else "no note"
            raise UserError(f"{path}: {what} with an admission; the data set would be empty")
        _refuse_twice(path, keys, table.id_column)
        keys = cast_ids(path, keys, ["hadm_id", "subject_id"])
        return cls(spool, _admissions(path, keys.with_row_index("spool_row"), table, release))

    def texts(self, hadm_ids: pl.Series, rule: TextRule) -> Iterator[pl.DataFrame]:
        """Chunks of one column `text` for `hadm_ids`, which must be in the order of `admissions`."""
        chosen = self.admissions.join(
            hadm_ids.to_frame("hadm_id"), on="hadm_id", how="semi", maintain_order="left"
        )
        several = chosen.filter(pl.col("rows").list.len() > 1)
        joined = self._joined(several)
        leads = chosen.select(pl.col("lead").alias("spool_row"), "hadm_id")
        for start, chunk in self._chunks():
            numbered = chunk.with_row_index("spool_row", offset=start)
            part = leads.join(numbered, on="spool_row", how="inner", maintain_order="left")
            part = part.join(joined, on="hadm_id", how="left", maintain_order="left")
            if part.height:
                yield part.select(_clean(pl.coalesce("joined", "text"), rule).alias("text"))

    def _chunks(self) -> Iterator[tuple[int, pl.DataFrame]]:
        spool = pl.scan_parquet(self.spool)
        height = spool.select(pl.len()).collect().item()
        for start in range(0, height, _CHUNK):
            yield start, spool.select("text").slice(start, _CHUNK).collect()

    def _joined(self, several: pl.DataFrame) -> pl.DataFrame:
        """Text of the admissions with several notes: hadm_id, joined."""
        order = several.select("hadm_id", "rows").explode("rows").with_row_index("_place")
        wanted = order.select(pl.col("rows").alias("spool_row"), "hadm_id", "_place")
        parts = [
            chunk.with_row_index("spool_row", offset=start).join(wanted, on="spool_row", how="inner")
            for start, chunk in (self._chunks() if several.height else ())
        ]
        if not parts:
            return pl.DataFrame(schema={"hadm_id": pl.Int64, "joined": pl.String})
        return (
            pl.concat(parts)
            .sort("_place")
            .group_by("hadm_id", maintain_order=True)
            .agg(pl.col("text").str.join("\n").alias("joined"))
        )


def _admissions(path: Path, keys: pl.DataFrame, table: NoteTable, release: Release) -> pl.DataFrame:
    kind = pl.col("description" if release == "mimic-iii" else "note_type").str.strip_chars()
    number = "row_id" if release == "mimic-iii" else "note_seq"
    keys = keys.with_columns(
        kind.is_in(["Addendum", "AD"]).fill_null(False).alias("_addendum"),
        pl.col(number).cast(pl.Int64, strict=False).alias("_number"),
    )
    bad = keys.filter(pl.col("_number").is_null())
    if bad.height:
        raise UserError(f"{path}, row {bad['row'][0]}, field {number}: not a whole number")
    people = keys.group_by("hadm_id").agg(pl.col("subject_id").n_unique(), pl.col("row").max())
    mixed = people.filter(pl.col("subject_id") > 1)
    if mixed.height:
        raise UserError(
            f"{path}, row {mixed['row'].min()}, field subject_id: an admission belongs to two patients"
        )
    return (
        keys.sort(["hadm_id", *table.order], nulls_last=False, maintain_order=True)
        .group_by("hadm_id", maintain_order=True)
        .agg(
            pl.col("subject_id").first(),
            pl.col("spool_row").min().alias("lead"),
            pl.col("spool_row").alias("rows"),
        )
        .sort("lead")
    )


def _refuse_twice(path: Path, keys: pl.DataFrame, column: str) -> None:
    twice = keys.filter(pl.col(column).is_duplicated() & pl.col(column).is_not_null())
    if twice.height:
        raise UserError(f"{path}, row {twice['row'][1]}, field {column}: duplicate id")


def _clean(text: pl.Expr, rule: TextRule) -> pl.Expr:
    """CAML's cleaning: runs of word characters, lower case, tokens of digits alone dropped."""
    if rule == "raw":
        return text
    words = text.str.to_lowercase().str.extract_all(r"\w+")
    return words.list.eval(pl.element().filter(~pl.element().str.contains(r"^\d+$"))).list.join(" ")
