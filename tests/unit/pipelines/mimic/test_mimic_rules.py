"""MIMIC's rules about codes, titles, label lists and inputs, each on the smallest case that shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.mimic import Options, prepare
from pipelines.mimic import notes as mimic_notes
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import CODE_IV, documents, note_iii, write_csv, write_ids, write_iii, write_iv

IDS = (101, 102, 103)


def run(source: Path, out: Path, lines: list[str] | None = None, **options: Any) -> Manifest:
    defaults: dict[str, Any] = {"release": "mimic-iii", "codes": "icd9", "labels": "full"}
    said = [] if lines is None else lines
    return prepare(source, out, Options(**{**defaults, **options}), progress=said.append)


def run_iv(source: Path, out: Path, **options: Any) -> Manifest:
    return run(source, out, **{"release": "mimic-iv", "codes": "icd10", **options})


def ids(tmp: Path, kind: str = "full") -> str:
    return write_ids(tmp / "ids", kind, [101], [102], [103])


def notes_iii(**other: str) -> list[Any]:
    return [note_iii(i, hadm, str(hadm), f"text {hadm}", **other) for i, hadm in enumerate(IDS)]


def notes_iv() -> list[tuple[int, int, str]]:
    return [(hadm, hadm, f"text {hadm}") for hadm in IDS]


def codes_of(out: Path) -> dict[str, set[str]]:
    return {name: codes for name, (_, codes, _) in documents(out).items()}


def test_the_time_of_an_addendum_comes_before_its_date(tmp_path: Path) -> None:
    addenda = [
        note_iii(11, 101, "101", "later", description="Addendum", charttime="09:00", chartdate="2150-01-01"),
        note_iii(12, 101, "101", "sooner", description="Addendum", charttime="08:00", chartdate="2150-01-02"),
        note_iii(14, 101, "101", "last", description="Addendum", charttime="10:00", chartdate="2150-01-02"),
        note_iii(13, 101, "101", "third", description="Addendum", charttime="10:00", chartdate="2150-01-01"),
    ]
    source = write_iii(tmp_path / "raw", [*notes_iii(), *addenda], [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][2] == "text 101\nsooner\nlater\nthird\nlast"


def test_min10_counts_a_code_once_per_admission(tmp_path: Path) -> None:
    hadms = range(1_000, 1_010)
    notes = [note_iii(i, h, str(h), f"text {h}") for i, h in enumerate(hadms)]
    codes = [(h, "4019") for h in hadms] + [(h, "4280") for h in hadms[:9]] * 2
    source = write_iii(tmp_path / "raw", notes, codes)
    split = write_ids(tmp_path / "ids", "full", hadms[:5], hadms[5:8], hadms[8:])
    run(source, tmp_path / "out", labels="min10", split=split)
    assert PreparedData.load(tmp_path / "out").label_codes == ["401.9"]


def test_rows_without_a_code_or_an_admission_are_left_out_aloud(tmp_path: Path) -> None:
    rows: list[Any] = [*((h, "4019") for h in IDS), (101, ""), (102, " "), ("", "4280")]
    lines: list[str] = []
    run(write_iii(tmp_path / "raw", notes_iii(), rows), tmp_path / "out", lines, split=ids(tmp_path))
    assert codes_of(tmp_path / "out") == {str(h): {"401.9"} for h in IDS}
    said = [line.removeprefix(f"{tmp_path}/raw/") for line in lines if "left out" in line]
    assert said == [
        "DIAGNOSES_ICD.csv: 2 rows without a code (icd9_code is empty) are left out",
        "DIAGNOSES_ICD.csv: 1 rows without an admission (hadm_id is empty) are left out",
    ]


def test_summaries_without_text_are_left_out_aloud(tmp_path: Path) -> None:
    notes = [*notes_iii(), note_iii(77, 101, "101", ""), note_iii(78, 9, "", "", category="Radiology")]
    lines: list[str] = []
    codes = [(h, "4019") for h in IDS]
    run(write_iii(tmp_path / "raw", notes, codes), tmp_path / "out", lines, split=ids(tmp_path))
    assert f"{tmp_path}/raw/NOTEEVENTS.csv: 1 summaries without text are left out" in lines


def test_blanks_around_codes_versions_and_categories_do_not_count(tmp_path: Path) -> None:
    three = notes_iii(category=" Discharge summary ")
    run(write_iii(tmp_path / "iii", three, [(h, " 4019 ") for h in IDS]), tmp_path / "a", split=ids(tmp_path))
    assert codes_of(tmp_path / "a") == {str(h): {"401.9"} for h in IDS}
    rows: list[Any] = [(h, " I2510", " 10 ") for h in IDS]
    run_iv(write_iv(tmp_path / "iv", notes_iv(), rows), tmp_path / "b", split=ids(tmp_path))
    assert codes_of(tmp_path / "b") == {str(h): {"I25.10"} for h in IDS}


def test_titles_are_those_of_the_version(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", notes_iv(), [(h, "V5861", 9) for h in IDS])
    titles = [("V5861", 10, "A transport accident"), ("V5861", 9, "Use of anticoagulants")]
    for order, rows in enumerate((titles, titles[::-1])):
        write_csv(source / "hosp" / "d_icd_diagnoses.csv.gz", ["icd_code", "icd_version", "long_title"], rows)
        run_iv(source, tmp_path / f"out{order}", codes="icd9", split=ids(tmp_path))
        assert PreparedData.load(tmp_path / f"out{order}").label_names == ["Use of anticoagulants"]


def test_top50_of_mimic_iv_prefers_the_code_that_sorts_first_among_equals(tmp_path: Path) -> None:
    rows = [(h, f"A{k:02d}", 10) for h in IDS for k in range(52)]
    run_iv(
        write_iv(tmp_path / "raw", notes_iv(), rows),
        tmp_path / "out",
        labels="top50",
        split=ids(tmp_path, "50"),
    )
    assert PreparedData.load(tmp_path / "out").label_codes == [f"A{k:02d}" for k in range(50)]


def test_the_counted_50_are_compared_with_the_list_beside_the_ids(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", notes_iv(), [(h, "I2510", 10) for h in IDS] + [(101, "J449", 10)])
    split = ids(tmp_path, "50")
    listed = tmp_path / "ids" / "TOP_50_CODES.csv"
    for content, remark in (
        ("I2510\nE119\n", "only counted here: J44.9; only in the list: E119"),
        ("I25.10\nJ449\n", "labels are those of TOP_50_CODES.csv"),
    ):
        listed.write_text(content)
        lines: list[str] = []
        out = tmp_path / content[:6].strip()
        manifest = run_iv(source, out, lines=lines, labels="top50", split=split)
        assert (
            [note for note in manifest.notes if remark in note]
            == [line for line in lines if remark in line]
            != []
        )
        listed.write_text(content + "A00\n")
        with pytest.raises(UserError, match="other arguments or input files"):
            run_iv(source, out, labels="top50", split=split)
    listed.write_text("I2510\nJohn Doe, marker\n")
    with pytest.raises(UserError, match=r"TOP_50_CODES\.csv, line 2: not an ICD code \(one code a line\)$"):
        run_iv(source, tmp_path / "other", labels="top50", split=split)


def test_changed_id_lists_tables_and_titles_are_other_inputs(tmp_path: Path) -> None:
    source = write_iii(tmp_path / "raw", notes_iii(), [(h, "4019") for h in IDS])
    table = tmp_path / "split.feather"
    pl.DataFrame({"_id": IDS, "split": ["train", "val", "test"]}).write_ipc(table)
    lists = ids(tmp_path)
    for name, split in (("lists", lists), ("table", f"table:{table}")):
        run(source, tmp_path / name, split=split)
        run(source, tmp_path / name, split=split)  # the same again: nothing to do
    write_ids(tmp_path / "ids", "full", [101, 103], [102], [999])
    pl.DataFrame({"_id": IDS, "split": ["test", "val", "train"], "more": [1, 2, 3]}).write_ipc(table)
    for name, split in (("lists", lists), ("table", f"table:{table}")):
        with pytest.raises(UserError, match="other arguments or input files"):
            run(source, tmp_path / name, split=split)


def test_a_dictionary_that_was_not_there_is_another_input(tmp_path: Path) -> None:
    source = write_iii(tmp_path / "raw", notes_iii(), [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path))
    header = ["ROW_ID", "ICD9_CODE", "SHORT_TITLE", "LONG_TITLE"]
    write_csv(source / "D_ICD_DIAGNOSES.csv", header, [(1, "4019", "HTN", "Hypertension")])
    with pytest.raises(UserError, match="other arguments or input files"):
        run(source, tmp_path / "out", split=f"ids:{tmp_path / 'ids'}")


def test_a_relative_split_folder_is_another_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_iii(tmp_path / "raw", notes_iii(), [(h, "4019") for h in IDS])
    for name in ("a", "b"):
        write_ids(tmp_path / name / "ids", "full", [101], [102], [103])
    monkeypatch.chdir(tmp_path / "a")
    run(source, tmp_path / "out", split="ids:ids")
    run(source, tmp_path / "out", split=f"ids:{os.path.realpath(tmp_path)}/a/ids")
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(UserError, match="other arguments or input files"):
        run(source, tmp_path / "out", split="ids:ids")


def test_a_code_version_is_shown_only_if_it_is_a_short_number(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", notes_iv(), [])
    path = source / "hosp" / "diagnoses_icd.csv.gz"
    for value, message in (("11", "version '11'"), ("John marker", r"version \("), ("", r"version \(")):
        write_csv(path, CODE_IV, [(1, 101, 1, "I10", 10), (1, 102, 1, "I10", value)])
        with pytest.raises(UserError, match=f"row 2, field icd_version: unknown code {message}"):
            run_iv(source, tmp_path / "out", split=ids(tmp_path))


def test_duplicate_note_ids_name_the_first_row_that_repeats_one(tmp_path: Path) -> None:
    notes = [note_iii(n, i, str(100 + i), f"text {i}") for i, n in enumerate((7, 8, 8, 7))]
    source = write_iii(tmp_path / "raw", notes, [(100, "4019")])
    with pytest.raises(UserError, match="row 3, field row_id: duplicate id"):
        run(source, tmp_path / "out")


def test_an_edit_between_the_passes_that_takes_a_note_away_is_refused(tmp_path: Path) -> None:
    rows: list[tuple[int, int, str]] = [(i, 100 + i, f"text {i}") for i in range(9)]
    source = write_iv(tmp_path / "raw", rows, [], ending=".csv")
    file = source / "note" / "discharge.csv"
    notes = mimic_notes.Notes.read(source, "mimic-iv", tmp_path / "spool.parquet")
    content = file.read_text()
    # As many rows as before: one has lost its text, or its admission.
    for old, new in ((",text 4\n", ",\n"), (",104,", ",,")):
        file.write_text(content.replace(old, new))
        with pytest.raises(UserError, match=r"discharge\.csv: changed while it was read; try again"):
            list(notes.texts(notes.admissions["hadm_id"], "raw"))
