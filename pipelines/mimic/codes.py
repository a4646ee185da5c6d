"""Label sets of MIMIC's admissions: diagnoses and procedures together, each code once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from pipelines.mimic.code_checks import Kind, refuse_misplaced_dots, without_words
from pipelines.mimic.icd import caml_compat, dotted
from pipelines.shared.runner import Progress
from pipelines.shared.tables import ROW, check_width, find_table, reading, scan_table
from sdl_study.errors import UserError

Release = Literal["mimic-iii", "mimic-iv"]
LabelRule = Literal["full", "top50", "min10"]
MINIMUM_COUNT = 10
_FIELDS: dict[Release, str] = {"mimic-iii": "icd9_code", "mimic-iv": "icd_code"}

# The 50 labels of the MIMIC-III-50 benchmark (Mullenbach et al. 2018, TOP_50_CODES.csv). Counting
# again gives another list, so the published one is used.
MIMIC_III_TOP_50: tuple[str, ...] = (
    "401.9", "38.93", "428.0", "427.31", "414.01", "96.04", "96.6", "584.9", "250.00", "96.71", "272.4",
    "518.81", "99.04", "39.61", "599.0", "530.81", "96.72", "272.0", "285.9", "88.56", "244.9", "486",
    "38.91", "285.1", "36.15", "276.2", "496", "99.15", "995.92", "V58.61", "507.0", "038.9", "88.72",
    "585.9", "403.90", "311", "305.1", "37.22", "412", "33.24", "39.95", "287.5", "410.71", "276.1",
    "V45.81", "424.0", "45.13", "V15.82", "511.9", "37.23",
)  # fmt: skip


@dataclass(frozen=True)
class CodeTables:
    """Where the codes of a release lie."""

    diagnoses: Path
    procedures: Path
    release: Release

    @staticmethod
    def find(source: Path, release: Release) -> CodeTables:
        """Raises UserError naming the file that is missing."""
        folder = source if release == "mimic-iii" else source / "hosp"
        return CodeTables(find_table(folder, "diagnoses_icd"), find_table(folder, "procedures_icd"), release)


def read_codes(
    tables: CodeTables, codes: Literal["icd9", "icd10"], compat: bool, progress: Progress = print
) -> pl.DataFrame:
    """Codes by admission: columns hadm_id (Int64), kind, code, as often as they stand there.

    Args:
        progress: told how many rows have no code or no admission; MIMIC-III has some, and they are left out.

    Raises:
        UserError: damaged file, unknown ICD version, an id that is no number, codes that became numbers.
    """
    version = int(codes.removeprefix("icd"))
    parts = []
    files: tuple[tuple[Path, Kind], ...] = ((tables.diagnoses, "diagnosis"), (tables.procedures, "procedure"))
    for path, kind in files:
        table = _read_rows(path, tables.release, progress)
        if tables.release == "mimic-iv":
            table = _of_version(path, table, version)
        refuse_misplaced_dots(path, table, _FIELDS[tables.release], kind, version)
        rule = caml_compat if compat else dotted
        parts.append(
            cast_ids(path, table, ["hadm_id"]).select(
                "hadm_id", pl.lit(kind).alias("kind"), rule(pl.col("code"), kind, version).alias("code")
            )
        )
    pairs = pl.concat(parts)
    if not pairs.height:
        raise UserError(f"{tables.diagnoses}: no {codes.upper()} code here nor in {tables.procedures.name}")
    return pairs


def _read_rows(path: Path, release: Release, progress: Progress) -> pl.DataFrame:
    """Rows with a code and an admission: ROW, hadm_id, code and, in MIMIC-IV, icd_version."""
    code = _FIELDS[release]
    required = ["hadm_id", code] + (["icd_version"] if release == "mimic-iv" else [])
    with reading(path):
        table = scan_table(path, required).with_row_index(ROW, offset=1).collect(engine="streaming")
    if table.to_series(-1).null_count():
        check_width(path, table.width - 1)  # a row that ends early looks like one with an empty last field
    table = table.select(ROW, *required).rename({code: "code"})
    with_code = table.filter(pl.col("code").str.strip_chars() != "")
    kept = with_code.filter(pl.col("hadm_id").is_not_null())
    for what, count in (
        (f"without a code ({code} is empty)", table.height - with_code.height),
        ("without an admission (hadm_id is empty)", with_code.height - kept.height),
    ):
        if count:
            progress(f"{path}: {count:,} rows {what} are left out")
    return without_words(path, kept, code, progress)


def _of_version(path: Path, table: pl.DataFrame, version: int) -> pl.DataFrame:
    versions = table["icd_version"].str.strip_chars()
    bad = table.filter(~versions.is_in(["9", "10"]) | versions.is_null())
    if bad.height:
        # A short number may be shown; anything else could be a field that slipped into this column.
        value = bad["icd_version"][0] or ""
        shown = f" {value!r}" if value.isdecimal() and len(value) < 4 else ""
        raise UserError(
            f"{path}, row {bad[ROW][0]}, field icd_version: unknown code version{shown} (9 or 10)"
        )
    return table.filter(versions == str(version))


def cast_ids(path: Path, table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Ids as Int64; MIMIC-III has some of them as floats ("100001.0").

    Raises:
        UserError: naming file, row (column ``ROW``) and field of the first id that is no whole number.
    """
    for column in columns:
        value = pl.col(column).str.strip_chars().str.replace(r"\.0*$", "")
        table = table.with_columns(value.cast(pl.Int64, strict=False).alias("_id"))
        bad = table.filter(pl.col("_id").is_null())
        if bad.height:
            raise UserError(f"{path}, row {bad[ROW][0]}, field {column}: not a whole number")
        table = table.with_columns(pl.col("_id").alias(column)).drop("_id")
    return table


def choose_labels(pairs: pl.DataFrame, rule: LabelRule, release: Release) -> tuple[list[str], list[str]]:
    """Label codes in use, sorted, and notes for the manifest about how they were chosen.

    Args:
        pairs: hadm_id, kind, code of the admissions that have a note, all splits together.
        rule: "full", "top50" (the published list for MIMIC-III, else counted) or "min10"
            (codes of at least 10 admissions, counted before splitting, diagnoses and procedures apart).
    """
    counts = pairs.group_by("kind", "code").agg(pl.col("hadm_id").n_unique().alias("count"))
    if rule == "full":
        return sorted(counts["code"].unique().to_list()), []
    if rule == "min10":
        kept = counts.filter(pl.col("count") >= MINIMUM_COUNT)
        note = f"labels are the codes with at least {MINIMUM_COUNT} admissions, counted over all splits"
        return sorted(kept["code"].unique().to_list()), [note]
    if release == "mimic-iii":
        return sorted(MIMIC_III_TOP_50), ["labels are the published list of MIMIC-III-50"]
    ranked = (
        counts.group_by("code").agg(pl.col("count").sum()).sort(["count", "code"], descending=[True, False])
    )
    return sorted(ranked["code"].head(50).to_list()), [
        "labels are the 50 most frequent codes, counted over all splits"
    ]


def label_names(source: Path, release: Release, codes: list[str], version: int) -> list[str]:
    """Long titles where MIMIC's dictionary tables are there, else the codes themselves."""
    code = _FIELDS[release]
    titles: dict[str, str] = {}
    for path, kind in dictionaries(source, release):
        with reading(path):
            table = scan_table(path, [code, "long_title"]).collect()
        if "icd_version" in table.columns:
            table = table.filter(pl.col("icd_version").str.strip_chars() == str(version))
        named = table.select(dotted(pl.col(code), kind, version).alias("code"), "long_title")
        titles |= {key: title for key, title in named.iter_rows() if key and title}
    return [titles.get(item, item) for item in codes]


def dictionaries(source: Path, release: Release) -> list[tuple[Path, str]]:
    """The dictionary tables that are there, with their kind; without them a label is named by its code."""
    folder = source if release == "mimic-iii" else source / "hosp"
    found = []
    for stem, kind in (("d_icd_diagnoses", "diagnosis"), ("d_icd_procedures", "procedure")):
        try:
            found.append((find_table(folder, stem), kind))
        except UserError:
            continue
    return found
