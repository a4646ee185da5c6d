"""Discharge summaries of MIMIC: streamed from the raw table, one text per admission.

NOTEEVENTS is 3.8 GB and MIMIC-IV's discharge table 3.3 GB: neither is ever held in memory. A first pass
reads all columns but the text; in a second one the texts flow, chunk by chunk, into the data set. Only
the rows of admissions with several notes (addenda) are gathered.
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
    """Columns of a release's note table, and the order of an admission's rows.

    `spooled`: the summaries are copied to a file of their own on the first pass, because they are a small
    part of the table. Where the table is nothing but them, reading it twice takes less time.
    """

    required: tuple[str, ...]
    order: tuple[str, ...]
    id_column: str
    spooled: bool


_TABLES: dict[Release, NoteTable] = {
    "mimic-iii": NoteTable(
        ("row_id", "subject_id", "hadm_id", "chartdate", "charttime", "category", "description", "text"),
        ("_addendum", "charttime", "chartdate", "_number"),
        "row_id",
        spooled=True,
    ),
    "mimic-iv": NoteTable(
        ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "text"),
        ("_addendum", "_number", "charttime"),
        "note_id",
        spooled=False,
    ),
}


def notes_file(source: Path, release: Release) -> Path:
    """The table with the notes; raises UserError when it is missing."""
    if release == "mimic-iii":
        return find_table(source, "noteevents")
    return find_table(source / "note", "discharge")


class Notes:
    """Discharge summaries of a release, and which rows belong to which admission.

    `admissions` has one row per admission in the order of the file: hadm_id, subject_id, lead (number of the
    row with its first note in the file), rows (numbers of all its rows in reading order).
    """

    def __init__(self, path: Path, table: pl.LazyFrame, admissions: pl.DataFrame) -> None:
        self._path = path
        self._table = table
        self.admissions = admissions

    @classmethod
    def read(cls, source: Path, release: Release, spool: Path) -> Notes:
        """Read all but the texts of `source`.

        Args:
            spool: file for a copy of the summaries, made where the table is packed (unpacking takes far
                longer than reading) or `spooled`.

        Raises:
            UserError: missing or damaged file or column, no discharge summary in it, note ids twice.
        """
        path = notes_file(source, release)
        columns = _TABLES[release]
        table = scan_table(path, columns.required).with_row_index("row", offset=1)
        if release == "mimic-iii":
            table = table.filter(pl.col("category").str.strip_chars() == "Discharge summary")
        table = table.filter(pl.col("hadm_id").is_not_null() & pl.col("text").is_not_null())
        with reading(path):
            if columns.spooled or path.suffix == ".gz":
                table = _spooled(table, spool)
            keys = table.drop("text").collect(engine="streaming")
        if not keys.height:
            what = "no row of category 'Discharge summary'" if release == "mimic-iii" else "no note"
            raise UserError(f"{path}: {what} with an admission; the data set would be empty")
        _refuse_twice(path, keys, columns.id_column)
        keys = cast_ids(path, keys, ["hadm_id", "subject_id"])
        return cls(path, table.select("row", "text"), _admissions(path, keys, columns, release))

    def texts(self, hadm_ids: pl.Series, rule: TextRule) -> Iterator[pl.DataFrame]:
        """Chunks of one column `text` for `hadm_ids`, which must be in the order of `admissions`.

        Raises:
            UserError: the file changed since it was opened.
        """
        chosen = self.admissions.join(
            hadm_ids.to_frame("hadm_id"), on="hadm_id", how="semi", maintain_order="left"
        )
        joined = self._joined(chosen.filter(pl.col("rows").list.len() > 1))
        leads = chosen.select(pl.col("lead").alias("row"), "hadm_id")
        for part in self._rows(leads):
            part = part.join(joined, on="hadm_id", how="left", maintain_order="left")
            yield part.select(_clean(pl.coalesce("joined", "text"), rule).alias("text"))

    def _joined(self, several: pl.DataFrame) -> pl.DataFrame:
        """Text of the admissions with several notes: hadm_id, joined."""
        wanted = several.select(pl.col("rows").alias("row"), "hadm_id").explode("row").with_row_index("place")
        parts = list(self._rows(wanted.sort("row"))) if several.height else []
        if not parts:
            return pl.DataFrame(schema={"hadm_id": pl.Int64, "joined": pl.String})
        return (
            pl.concat(parts)
            .sort("place")
            .group_by("hadm_id", maintain_order=True)
            .agg(pl.col("text").str.join("\n").alias("joined"))
        )

    def _rows(self, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Chunks of `wanted`, which is sorted by its column row, with their column text."""
        done = 0
        with reading(self._path):
            for chunk in self._table.collect_batches(
                chunk_size=_CHUNK, maintain_order=True, engine="streaming"
            ):
                stop = int(wanted["row"].search_sorted(chunk["row"][-1], side="right"))
                here = wanted.slice(done, stop - done)
                done = stop
                if here.height:
                    yield here.join(chunk, on="row", how="left", maintain_order="left")
        if done != wanted.height:
            raise UserError(f"{self._path}: changed while it was read; try again")


def _spooled(table: pl.LazyFrame, spool: Path) -> pl.LazyFrame:
    table.sink_parquet(
        spool, compression="uncompressed", statistics=False, row_group_size=_CHUNK, engine="streaming"
    )
    return pl.scan_parquet(spool)


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
        .agg(pl.col("subject_id").first(), pl.col("row").min().alias("lead"), pl.col("row").alias("rows"))
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
