"""MIMIC-III and MIMIC-IV, as PhysioNet gives them, → prepared data set of discharge summaries and ICD codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pipelines.mimic.code_checks import remarks_on
from pipelines.mimic.codes import (
    CodeTables,
    LabelRule,
    Release,
    choose_labels,
    dictionaries,
    label_names,
    read_codes,
)
from pipelines.mimic.notes import Notes, TextRule, notes_file
from pipelines.mimic.published_counts import compare_top_50, compare_with_published
from pipelines.mimic.published_splits import PublishedSplit, read_id_lists, read_split_table
from pipelines.shared.runner import Progress, already_prepared, invocation, summary
from pipelines.shared.splits import hash_splits
from sdl_study.data.prepared import Manifest, Terms
from sdl_study.data.writer import Preparation, temporary_folder, write_prepared
from sdl_study.errors import UserError


@dataclass(frozen=True)
class Options:
    """How to make a data set out of MIMIC's files."""

    release: Release
    codes: Literal["icd9", "icd10"]
    labels: LabelRule
    split: str = "hash"
    text: TextRule = "raw"
    caml_compat: bool = False

    def __post_init__(self) -> None:
        if self.release == "mimic-iii" and self.codes != "icd9":
            raise UserError("--codes: MIMIC-III has ICD-9 codes only; use --codes icd9")
        if self.caml_compat and self.codes != "icd9":
            raise UserError("--caml-compat concerns ICD-9 procedure codes; use it with --codes icd9")
        if not (self.split == "hash" or self.split.startswith(("ids:", "table:"))):
            raise UserError(f"--split: {self.split!r} is not hash, ids:DIR or table:FILE")

    def described(self) -> dict[str, Any]:
        """The options without this machine's paths, for the manifest."""
        return {
            "pipeline": "mimic",
            "release": self.release,
            "codes": self.codes,
            "labels": self.labels,
            "split": self.split.partition(":")[0],
            "text": self.text,
            "caml_compat": self.caml_compat,
        }


def prepare(
    source: Path,
    out: Path,
    options: Options,
    *,
    notes_source: Path | None = None,
    terms: Terms = "restricted",
    name: str | None = None,
    extra_source: Mapping[str, Any] | None = None,
    progress: Progress = print,
) -> Manifest:
    """Prepare ``source`` into the new folder ``out``; with the same arguments again, do nothing.

    Args:
        notes_source: folder with note/discharge.csv.gz where MIMIC-IV-Note lies apart from MIMIC-IV.
        terms: "open" is for notes that no patient wrote or is in, such as the demo's.

    Raises:
        UserError: whatever is wrong with the files, the options or ``out``, in one line.
    """
    if not source.is_dir():
        raise UserError(f"{source}: source folder is missing")
    tables = CodeTables.find(source, options.release)
    notes_source = notes_source or source
    published = _published_split(options)
    made_from = _made_from(source, notes_source, options, tables, published, terms)
    if (done := already_prepared(out, made_from, progress)) is not None:
        return done
    progress(f"mimic: reading the codes of {source}")
    pairs = read_codes(tables, options.codes, options.caml_compat, progress)
    version = int(options.codes.removeprefix("icd"))
    doubts = remarks_on(pairs, version, compat=options.caml_compat)
    with temporary_folder(out.parent / f"{out.name}.spool") as spool:
        progress("mimic: reading the discharge summaries")
        notes = Notes.read(notes_source, options.release, spool / "notes.parquet", progress)
        index, labels, remarks = _index(notes.admissions, pairs, options, published)
        remarks = [*remarks, *doubts]
        preparation = Preparation(
            name=name or out.name,
            modality="text",
            terms=terms,
            index=index.select("source_id", "source_group", "split", "labels"),
            label_codes=labels,
            label_names=label_names(source, options.release, labels, version),
            split_origin=_origin(published),
            source={**options.described(), **(extra_source or {})},
            notes=remarks,
            invocation=made_from,
        )
        progress(f"mimic: writing {index.height:,} documents")
        manifest = write_prepared(out, preparation, notes.texts(index["hadm_id"], options.text))
    progress(summary(out, manifest))
    for line in [*remarks, *compare_with_published(manifest, published is not None)]:
        progress(line)
    return manifest


def _made_from(
    source: Path,
    notes_source: Path,
    options: Options,
    tables: CodeTables,
    published: PublishedSplit | None,
    terms: Terms,
) -> dict[str, Any]:
    """The record of the preparation: options, and every file that it reads."""
    return invocation(
        {**options.described(), "split": _resolved(options), "source": source.resolve(), "terms": terms},
        [
            *(tables.diagnoses, tables.procedures, notes_file(notes_source, options.release)),
            *(path for path, _ in dictionaries(source, options.release)),
            *(published.files if published is not None else ()),
        ],
    )


def _resolved(options: Options) -> str:
    """--split with an absolute path: the same words mean other files in another folder."""
    kind, colon, where = options.split.partition(":")
    return f"{kind}:{Path(where).resolve()}" if colon else kind


def _published_split(options: Options) -> PublishedSplit | None:
    kind, _, where = options.split.partition(":")
    if kind == "ids":
        return read_id_lists(Path(where), options.labels)
    if kind == "table":
        return read_split_table(Path(where))
    return None


def _origin(published: PublishedSplit | None) -> str:
    if published is not None:
        return published.origin
    return "own split by a hash of the patient id (80/10/10): not comparable with published numbers"


def _index(
    admissions: pl.DataFrame, pairs: pl.DataFrame, options: Options, published: PublishedSplit | None
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """One row per document, in the order of the admissions: hadm_id, source ids, split, labels."""
    documents = admissions.select("hadm_id", "subject_id")
    if published is not None:
        split_of = {int(key): split for key, split in published.split_of.items()}
        split = pl.col("hadm_id").replace_strict(split_of, default=None, return_dtype=pl.String)
        documents = documents.with_columns(split.alias("split")).filter(pl.col("split").is_not_null())
    pairs = pairs.join(documents, on="hadm_id", how="semi")
    labels, remarks = choose_labels(pairs, options.labels, options.release)
    numbers = pl.DataFrame({"code": labels}).with_row_index("label").cast({"label": pl.Int32})
    sets = (
        pairs.join(numbers, on="code", how="inner")
        .group_by("hadm_id")
        .agg(pl.col("label").unique().sort().alias("labels"))
    )
    documents = documents.join(sets, on="hadm_id", how="left", maintain_order="left")
    if published is None:
        # An own split has only documents with a label, as the published sets do.
        documents = documents.filter(pl.col("labels").is_not_null())
        split_of = hash_splits(documents["subject_id"].cast(pl.String).to_list())
        split = pl.col("subject_id").cast(pl.String).replace_strict(split_of, return_dtype=pl.String)
        documents = documents.with_columns(split.alias("split"))
    else:
        missing = len(published.split_of) - documents.height
        if published.top_50 and options.release == "mimic-iv":
            remarks = [*remarks, compare_top_50(labels, published.top_50)]
        if missing:
            remarks = [*remarks, f"{missing} listed admissions have no discharge summary in the source"]
    documents = documents.with_columns(
        pl.col("labels").fill_null([]),
        pl.col("hadm_id").cast(pl.String).alias("source_id"),
        pl.col("subject_id").cast(pl.String).alias("source_group"),
    )
    return documents, labels, remarks
