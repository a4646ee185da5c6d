"""The texts of MIMIC's admissions."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.mimic import notes as mimic_notes
from sdl_study.errors import UserError
from tests.unit.pipelines.mimic.small import IDS, ids, run, three_notes
from tests.unit.pipelines.raw import NOTE_IV, documents, note_iii, write_csv, write_iii, write_iv


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@pytest.mark.parametrize("upper", [True, False])
def test_reads_both_endings_and_both_cases(tmp_path: Path, ending: str, upper: bool) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS], ending=ending, upper=upper)
    manifest = run(source, tmp_path / "out", split=ids(tmp_path))
    assert {s: c.examples for s, c in manifest.counts.items()} == {"train": 1, "dev": 1, "test": 1}
    assert manifest.terms == "restricted"


def test_addenda_follow_the_report_in_the_order_of_time_date_and_row(tmp_path: Path) -> None:
    notes = [
        note_iii(9, 1, "101", "late addendum", description="Addendum", charttime="2150-01-03 09:00:00"),
        note_iii(8, 1, "101", "row 8 addendum", description="Addendum", charttime="2150-01-03 08:00:00"),
        note_iii(7, 1, "101", "row 7 addendum", description="Addendum", charttime="2150-01-03 08:00:00"),
        note_iii(6, 1, "101", "second report", chartdate="2150-02-01"),
        note_iii(5, 1, "101", "report"),
        note_iii(1, 2, "102", "b"),
        note_iii(2, 3, "103", "c"),
    ]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path))
    expected = "report\nsecond report\nrow 7 addendum\nrow 8 addendum\nlate addendum"
    assert documents(tmp_path / "out")["101"][2] == expected


def test_mimic_iv_addenda_follow_by_sequence_number(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", [], [(h, "I10", 10) for h in IDS])
    rows = [
        ("1-AD-2", 1, 101, "AD", 2, "", "", "first addendum"),
        ("1-AD-10", 1, 101, "AD", 10, "", "", "tenth addendum"),
        ("1-DS-3", 1, 101, "DS", 3, "", "", "summary"),
        ("2-DS-1", 2, 102, "DS", 1, "", "", "b"),
        ("3-DS-1", 3, 103, "DS", 1, "", "", "c"),
    ]
    write_csv(source / "note" / "discharge.csv.gz", NOTE_IV, rows)
    run(source, tmp_path / "out", release="mimic-iv", codes="icd10", split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][2] == "summary\nfirst addendum\ntenth addendum"


def test_float_and_empty_admission_ids_of_other_categories(tmp_path: Path) -> None:
    notes = [
        note_iii(1, 1, "", "no admission", category="Radiology"),
        note_iii(2, 1, "not a number", "never looked at", category="Nursing"),
        note_iii(3, 1, "101.0", "kept"),
        note_iii(4, 1, "102.0", "x"),
        note_iii(5, 1, "103", "y"),
        note_iii(6, 1, "", "a summary without admission"),
    ]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][2] == "kept"
    assert set(documents(tmp_path / "out")) == {"101", "102", "103"}


def test_quoted_newlines_quotes_and_commas_stay_in_the_text(tmp_path: Path) -> None:
    text = 'Name: ___\n\n"quoted", and\na comma\n'
    notes = [note_iii(1, 1, "101", text), note_iii(2, 2, "102", "b"), note_iii(3, 3, "103", "c")]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][2] == text


def test_caml_text_keeps_lower_case_words_and_drops_numbers(tmp_path: Path) -> None:
    text = "Pt is 67 y/o M, BP 120/80; B12 low.\nSee [**Name**]"
    notes = [note_iii(1, 1, "101", text), note_iii(2, 2, "102", "b"), note_iii(3, 3, "103", "c")]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path), text="caml")
    assert documents(tmp_path / "out")["101"][2] == "pt is y o m bp b12 low see name"


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_notes_of_an_admission_far_apart_in_the_file_are_joined_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(mimic_notes, "_CHUNK", 7)
    rows: list[tuple[int | str, ...]] = [
        (f"note {i}", i % 60, 1000 + i % 60, "DS" if i < 60 else "AD", i, "", "", f'{i}, "with" quotes\n')
        for i in range(150)
    ]
    expected = {
        str(1000 + i): "\n".join(str(row[-1]) for row in rows if row[2] == 1000 + i) for i in range(60)
    }
    source = write_iv(tmp_path / "raw", [], [(1000 + i, "I10", 10) for i in range(60)], ending=ending)
    write_csv(source / "note" / f"discharge{ending}", NOTE_IV, rows)
    run(source, tmp_path / "out", release="mimic-iv", codes="icd10")
    assert {hadm: text for hadm, (_, _, text) in documents(tmp_path / "out").items()} == expected
    order = pl.read_parquet(tmp_path / "out" / "id_map.parquet")["source_id"].to_list()
    assert order == list(expected)


def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", [(i, 100 + i, f"text {i}") for i in range(9)], [], ending=".csv")
    file = source / "note" / "discharge.csv"
    notes = mimic_notes.Notes.read(source, "mimic-iv", tmp_path / "spool.parquet")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(UserError, match=r"discharge\.csv: changed while it was read; try again"):
        list(notes.texts(notes.admissions["hadm_id"], "raw"))
