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

from pipelines.mimic.codes import Release, cast_ids
from pipelines.shared.contents import is_packed
from pipelines.shared.missing import is_empty, is_word
from pipelines.shared.runner import Progress
from pipelines.shared.tables import ROW, check_width, find_table, reading, scan_table
from sdl_study.data import parquet
from sdl_study.errors import UserError

TextRule = Literal["raw", "caml"]
_CHUNK = 4_096


@dataclass(frozen=True)
class NoteTable:
    """Columns of a release's note table, and the order of an admission's rows.

    ``spooled``: the summaries are copied to a file of their own on the first pass, because they are a small
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

    ``admissions`` has one row per admission in the order of the file: hadm_id, subject_id, lead (number of the
    row with its first note in the file), rows (numbers of all its rows in reading order).
    """

    def __init__(self, path: Path, table: pl.LazyFrame, admissions: pl.DataFrame) -> None:
        self._path = path
        self._table = table
        self.admissions = admissions

    @classmethod
    def read(cls, source: Path, release: Release, spool: Path, progress: Progress = print) -> Notes:
        """Read all but the texts of ``source``.

        Args:
            spool: file for a copy of the summaries, made where the table is packed (unpacking takes far
                longer than reading) or ``spooled``.
            progress: told how many summaries have no text; they are left out.

        Raises:
            UserError: missing or damaged file or column, no discharge summary in it, note ids twice.
        """
        path = notes_file(source, release)
        columns = _TABLES[release]
        table = scan_table(path, columns.required).with_row_index(ROW, offset=1)
        wanted = pl.col("hadm_id").is_not_null()
        if release == "mimic-iii":
            wanted &= pl.col("category").str.strip_chars() == "Discharge summary"
        table = table.filter(wanted | pl.col("text").is_null())
        with reading(path):
            if columns.spooled or is_packed(path):
                table = _spooled(table, spool)
            # Every column is read, though not all are used: see scan_table.
            keys = table.with_columns(_no_text().alias("text")).collect(engine="streaming")
        keys = _without_empty(path, keys, wanted, progress)
        if not keys.height:
            what = "no row of category 'Discharge summary'" if release == "mimic-iii" else "no note"
            raise UserError(f"{path}: {what} with an admission; the data set would be empty")
        _refuse_twice(path, keys, columns.id_column)
        keys = cast_ids(path, keys, ["hadm_id", "subject_id"])
        return cls(path, table.select(ROW, "text"), _admissions(path, keys, columns, release))

    def texts(self, hadm_ids: pl.Series, rule: TextRule) -> Iterator[pl.DataFrame]:
        """Chunks of one column ``text`` for ``hadm_ids``, which must be in the order of ``admissions``.

        Raises:
            UserError: the file changed since it was opened.
        """
        chosen = self.admissions.join(
            hadm_ids.to_frame("hadm_id"), on="hadm_id", how="semi", maintain_order="left"
        )
        joined = self._joined(chosen.filter(pl.col("rows").list.len() > 1))
        leads = chosen.select(pl.col("lead").alias(ROW), "hadm_id")
        for part in self._rows(leads):
            part = part.join(joined, on="hadm_id", how="left", maintain_order="left")
            yield part.select(_clean(pl.coalesce("joined", "text"), rule).alias("text"))

    def _joined(self, several: pl.DataFrame) -> pl.DataFrame:
        """Text of the admissions with several notes: hadm_id, joined."""
        wanted = several.select(pl.col("rows").alias(ROW), "hadm_id").explode(ROW).with_row_index("place")
        parts = list(self._rows(wanted.sort(ROW))) if several.height else []
        if not parts:
            return pl.DataFrame(schema={"hadm_id": pl.Int64, "joined": pl.String})
        return (
            pl.concat(parts)
            .sort("place")
            .group_by("hadm_id", maintain_order=True)
            .agg(pl.col("text").str.join("\n").alias("joined"))
        )

    def _rows(self, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Chunks of ``wanted``, which is sorted by its column ROW, with their column text."""
        done = 0
        changed = UserError(f"{self._path}: changed while it was read; try again")
        with reading(self._path):
            for chunk in self._table.collect_batches(
                chunk_size=_CHUNK, maintain_order=True, engine="streaming"
            ):
                stop = int(wanted[ROW].search_sorted(chunk[ROW][-1], side="right"))
                here = wanted.slice(done, stop - done)
                done = stop
                if here.height:
                    part = here.join(chunk, on=ROW, how="left", maintain_order="left")
                    if part["text"].null_count():
                        raise changed  # a row that the first pass saw has no text now, or is gone
                    yield part
        if done != wanted.height:
            raise changed


def _no_text() -> pl.Expr:
    """Whether the column ``text`` has none, blanks alone, or a word for that; long texts are not looked at."""
    text = pl.col("text")
    return is_empty(text) | is_word(text, signs=False)


def _spooled(table: pl.LazyFrame, spool: Path) -> pl.LazyFrame:
    table.sink_parquet(
        parquet.literal(spool),
        compression="uncompressed",
        statistics=False,
        row_group_size=_CHUNK,
        engine="streaming",
    )
    return parquet.scan(spool)


def _admissions(path: Path, keys: pl.DataFrame, table: NoteTable, release: Release) -> pl.DataFrame:
    kind = pl.col("description" if release == "mimic-iii" else "note_type").str.strip_chars()
    number = "row_id" if release == "mimic-iii" else "note_seq"
    keys = keys.with_columns(
        kind.is_in(["Addendum", "AD"]).fill_null(False).alias("_addendum"),
        pl.col(number).cast(pl.Int64, strict=False).alias("_number"),
    )
    bad = keys.filter(pl.col("_number").is_null())
    if bad.height:
        raise UserError(f"{path}, row {bad[ROW][0]}, field {number}: not a whole number")
    people = keys.group_by("hadm_id").agg(pl.col("subject_id").n_unique(), pl.col(ROW).max())
    mixed = people.filter(pl.col("subject_id") > 1)
    if mixed.height:
        raise UserError(
            f"{path}, row {mixed[ROW].min()}, field subject_id: an admission belongs to two patients"
        )
    return (
        keys.sort(["hadm_id", *table.order], nulls_last=False, maintain_order=True)
        .group_by("hadm_id", maintain_order=True)
        .agg(pl.col("subject_id").first(), pl.col(ROW).min().alias("lead"), pl.col(ROW).alias("rows"))
        .sort("lead")
    )


def _without_empty(path: Path, keys: pl.DataFrame, wanted: pl.Expr, progress: Progress) -> pl.DataFrame:
    """Rows with a text; ``keys`` says in its column text which have none.

    Raises:
        UserError: a row ends early, which reads as an empty text.
    """
    empty = keys.filter(pl.col("text"))
    if empty.height:
        check_width(path, keys.width - 1)
        if count := empty.filter(wanted).height:
            progress(f"{path}: {count:,} summaries without text are left out")
    return keys.filter(~pl.col("text"))


def _refuse_twice(path: Path, keys: pl.DataFrame, column: str) -> None:
    twice = keys.filter(~pl.col(column).is_first_distinct() & pl.col(column).is_not_null())
    if twice.height:
        raise UserError(f"{path}, row {twice[ROW][0]}, field {column}: duplicate id")


def _clean(text: pl.Expr, rule: TextRule) -> pl.Expr:
    """CAML's cleaning: runs of word characters, lower case, tokens of digits alone dropped."""
    if rule == "raw":
        return text
    words = text.str.to_lowercase().str.extract_all(r"\w+")
    return words.list.eval(pl.element().filter(~pl.element().str.contains(r"^\d+$"))).list.join(" ")
