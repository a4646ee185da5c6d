"""Every rule of MIMIC's preparation on a small hand-made case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines import mimic_notes
from pipelines.mimic import Options, prepare
from pipelines.mimic_codes import MIMIC_III_TOP_50
from pipelines.splits import hash_split
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import NOTE_IV, documents, note_iii, write_csv, write_ids, write_iii, write_iv

IDS = (101, 102, 103)


def quiet(line: str) -> None:
    """No progress in tests."""


def run(source: Path, out: Path, **options: Any) -> Manifest:
    defaults: dict[str, Any] = {"release": "mimic-iii", "codes": "icd9", "labels": "full"}
    return prepare(source, out, Options(**{**defaults, **options}), progress=quiet)


def three_notes(tmp: Path, diagnoses: list[tuple[int, str]], procedures: Any = (), **other: Any) -> Path:
    notes = [note_iii(i, hadm, str(hadm), f"text {hadm}") for i, hadm in enumerate(IDS)]
    return write_iii(tmp / "raw", notes, diagnoses, procedures, **other)


def ids(tmp: Path, kind: str = "full") -> str:
    return write_ids(tmp / "ids", kind, [101], [102], [103])


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@pytest.mark.parametrize("upper", [True, False])
def test_reads_both_endings_and_both_cases(tmp_path: Path, ending: str, upper: bool) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS], ending=ending, upper=upper)
    manifest = run(source, tmp_path / "out", split=ids(tmp_path))
    assert {s: c.examples for s, c in manifest.counts.items()} == {"train": 1, "dev": 1, "test": 1}
    assert manifest.terms == "restricted"


def test_diagnoses_and_procedures_are_one_set_without_repeats(tmp_path: Path) -> None:
    source = three_notes(
        tmp_path, [(101, "4239"), (101, "4239"), (102, "4019"), (103, "4019")], [(101, "4239"), (101, "4239")]
    )
    run(source, tmp_path / "out", split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][1] == {"423.9", "42.39"}


def test_leading_zeros_stay_and_caml_compat_drops_those_of_procedures(tmp_path: Path) -> None:
    codes = [(101, "0389"), (102, "4019"), (103, "4019")]
    source = three_notes(tmp_path, codes, [(101, "0066")])
    run(source, tmp_path / "ours", split=ids(tmp_path))
    run(source, tmp_path / "caml", split=ids(tmp_path), caml_compat=True)
    assert documents(tmp_path / "ours")["101"][1] == {"038.9", "00.66"}
    assert documents(tmp_path / "caml")["101"][1] == {"038.9", "66."}


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


def test_own_split_leaves_out_admissions_without_note_or_code_and_keeps_patients_together(
    tmp_path: Path,
) -> None:
    notes = [note_iii(i, 500 + i % 60, str(1000 + i), f"text {i}") for i in range(180)]
    codes = [(1000 + i, "4019") for i in range(170)]
    source = write_iii(tmp_path / "raw", notes, [*codes, (77, "4280")])
    manifest = run(source, tmp_path / "out")
    found = documents(tmp_path / "out")
    assert set(found) == {str(1000 + i) for i in range(170)}
    assert PreparedData.load(tmp_path / "out").label_codes == ["401.9"]  # 428.0 has no note
    assert all(split == hash_split(str(500 + (int(i) - 1000) % 60)) for i, (split, _, _) in found.items())
    assert set(manifest.leakage["groups_in_two_splits"].values()) == {0}
    assert "not comparable" in manifest.split_origin


def test_published_lists_keep_listed_admissions_without_codes_and_drop_unlisted_ones(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(101, "4019"), (102, "4019")])
    split = write_ids(tmp_path / "ids", "full", [101], [103], [102])
    run(source, tmp_path / "out", split=split)
    assert documents(tmp_path / "out")["103"][:2] == ("dev", set())
    three = write_ids(tmp_path / "ids3", "full", [101], [102], [103, 999])
    manifest = run(source, tmp_path / "out3", split=three)
    assert manifest.notes == ["1 listed admissions have no discharge summary in the source"]


def test_published_split_measures_shared_patients_and_prints_counts_beside_published(tmp_path: Path) -> None:
    notes = [note_iii(1, 7, "101", "a"), note_iii(2, 7, "102", "b"), note_iii(3, 8, "103", "c")]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    lines: list[str] = []
    options = Options("mimic-iii", "icd9", "full", split=ids(tmp_path))
    manifest = prepare(source, tmp_path / "out", options, progress=lines.append)
    assert manifest.leakage["groups_in_two_splits"] == {"train-dev": 1, "train-test": 0, "dev-test": 0}
    shown = "\n".join(lines)
    assert "47,723" in shown
    assert "8,921" in shown
    assert "patients in two splits: train-dev 1" in shown


def test_edin_table_names_its_splits_train_val_test(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS])
    table = tmp_path / "split.feather"
    pl.DataFrame({"_id": [101, 102, 103], "split": ["train", "val", "test"]}).write_ipc(
        table, compression="lz4"
    )
    run(source, tmp_path / "out", split=f"table:{table}")
    assert {i: row[0] for i, row in documents(tmp_path / "out").items()} == {
        "101": "train",
        "102": "dev",
        "103": "test",
    }


def test_mixed_code_versions_are_told_apart(tmp_path: Path) -> None:
    notes = [(h, h, f"text {h}") for h in IDS]
    codes = [(101, "4019", 9), (101, "I10", 10), (102, "4019", 9), (103, "I10", 10), (102, "I2510", 10)]
    source = write_iv(tmp_path / "raw", notes, codes, [(103, "3893", 9), (103, "02HV33Z", 10)])
    for version, expected in (
        ("icd9", {"101": {"401.9"}, "102": {"401.9"}, "103": {"38.93"}}),
        ("icd10", {"101": {"I10"}, "102": {"I25.10"}, "103": {"I10", "02HV33Z"}}),
    ):
        run(source, tmp_path / version, release="mimic-iv", codes=version, split=ids(tmp_path))
        assert {i: row[1] for i, row in documents(tmp_path / version).items()} == expected


def test_notes_of_mimic_iv_may_lie_apart(tmp_path: Path) -> None:
    source = write_iv(tmp_path / "raw", [(h, h, f"text {h}") for h in IDS], [(h, "I10", 10) for h in IDS])
    (tmp_path / "apart").mkdir()
    (source / "note").rename(tmp_path / "apart" / "note")
    options = Options("mimic-iv", "icd10", "full", split=ids(tmp_path))
    with pytest.raises(UserError, match="note: folder is missing"):
        prepare(source, tmp_path / "out", options, progress=quiet)
    prepare(source, tmp_path / "out", options, notes_source=tmp_path / "apart", progress=quiet)
    assert documents(tmp_path / "out")["101"] == ("train", {"I10"}, "text 101")


def test_top50_of_mimic_iii_is_the_published_list_whatever_is_frequent(tmp_path: Path) -> None:
    assert len(set(MIMIC_III_TOP_50)) == 50
    source = three_notes(tmp_path, [(101, "4019"), (101, "99999"), (102, "4280"), (103, "99999")])
    manifest = run(source, tmp_path / "out", labels="top50", split=ids(tmp_path, "50"))
    assert PreparedData.load(tmp_path / "out").label_codes == sorted(MIMIC_III_TOP_50)
    assert documents(tmp_path / "out")["101"][1] == {"401.9"}
    assert any("published list" in note for note in manifest.notes)


def test_top50_of_mimic_iv_counts_over_all_splits_and_says_so(tmp_path: Path) -> None:
    notes = [(i, 1000 + i, f"text {i}") for i in range(120)]
    codes = [(1000 + i, f"A{k:02d}", 10) for i in range(120) for k in range(i % 60 + 1)]
    source = write_iv(tmp_path / "raw", notes, codes)
    manifest = run(source, tmp_path / "out", release="mimic-iv", codes="icd10", labels="top50")
    assert PreparedData.load(tmp_path / "out").label_codes == [f"A{k:02d}" for k in range(50)]
    assert any("counted over all splits" in note for note in manifest.notes)


def test_min10_counts_before_the_split(tmp_path: Path) -> None:
    hadms = [1000 + i for i in range(12)]
    notes = [note_iii(i, h, str(h), f"text {h}") for i, h in enumerate(hadms)]
    codes = (
        [(h, "4019") for h in hadms] + [(h, "4280") for h in hadms[:10]] + [(h, "4240") for h in hadms[:9]]
    )
    procedures = [(h, "4280") for h in hadms[:9]]
    source = write_iii(tmp_path / "raw", notes, codes, procedures)
    split = write_ids(tmp_path / "ids", "full", hadms[:5], hadms[5:8], hadms[8:])
    manifest = run(source, tmp_path / "out", labels="min10", split=split)
    # 428.0 has 10 admissions, 5 of them in train; 424.0 has 9; procedure 42.80 has 9 and is not added to 428.0.
    assert PreparedData.load(tmp_path / "out").label_codes == ["401.9", "428.0"]
    assert any("counted over all splits" in note for note in manifest.notes)


def test_a_label_only_in_test_has_no_training_example(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(101, "4019"), (102, "4019"), (103, "4019"), (103, "4280")])
    run(source, tmp_path / "out", split=ids(tmp_path))
    table = PreparedData.load(tmp_path / "out").label_table
    assert table.select("code", "train_count", "band").rows() == [("401.9", 1, "tail"), ("428.0", 0, "tail")]
    assert documents(tmp_path / "out")["103"][1] == {"401.9", "428.0"}


def test_caml_text_keeps_lower_case_words_and_drops_numbers(tmp_path: Path) -> None:
    text = "Pt is 67 y/o M, BP 120/80; B12 low.\nSee [**Name**]"
    notes = [note_iii(1, 1, "101", text), note_iii(2, 2, "102", "b"), note_iii(3, 3, "103", "c")]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in IDS])
    run(source, tmp_path / "out", split=ids(tmp_path), text="caml")
    assert documents(tmp_path / "out")["101"][2] == "pt is y o m bp b12 low see name"


def test_titles_come_from_the_dictionary_where_it_is_there(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(101, "4019"), (102, "4280"), (103, "4280")])
    header = ["ROW_ID", "ICD9_CODE", "SHORT_TITLE", "LONG_TITLE"]
    write_csv(
        source / "D_ICD_DIAGNOSES.csv", header, [(1, "4019", "Hypertension NOS", "Unspecified hypertension")]
    )
    run(source, tmp_path / "out", split=ids(tmp_path))
    assert PreparedData.load(tmp_path / "out").label_names == ["Unspecified hypertension", "428.0"]


def test_same_input_same_fingerprint_and_packing_or_place_do_not_matter(tmp_path: Path) -> None:
    found = set()
    for where, ending in (("a", ".csv"), ("b/deeper", ".csv.gz")):
        source = three_notes(tmp_path / where, [(h, "4019") for h in IDS], ending=ending)
        found.add(run(source, tmp_path / where / "out", split=ids(tmp_path / where)).fingerprint)
    assert len(found) == 1
    source = three_notes(tmp_path / "c", [(h, "4280") for h in IDS])
    assert run(source, tmp_path / "c" / "out", split=ids(tmp_path / "c")).fingerprint not in found


def test_second_run_is_a_no_op_and_other_arguments_are_refused(tmp_path: Path) -> None:
    source, split = three_notes(tmp_path, [(h, "4019") for h in IDS]), ids(tmp_path)
    run(source, tmp_path / "out", split=split)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    run(source, tmp_path / "out", split=split)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()} == before
    with pytest.raises(UserError, match="other arguments"):
        run(source, tmp_path / "out", split=split, text="caml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "out", "raw"]


def test_unusable_options() -> None:
    for options, message in (
        ({"codes": "icd10"}, "ICD-9 codes only"),
        ({"release": "mimic-iv", "codes": "icd10", "caml_compat": True}, "caml-compat"),
        ({"split": "random"}, "is not hash"),
    ):
        with pytest.raises(UserError, match=message):
            Options(**{"release": "mimic-iii", "codes": "icd9", "labels": "full", **options})  # type: ignore[arg-type]


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
