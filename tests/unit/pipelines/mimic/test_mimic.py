"""Every rule of MIMIC's preparation on a small hand-made case."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.mimic import Options, prepare
from pipelines.mimic.codes import MIMIC_III_TOP_50
from pipelines.shared.splits import hash_split
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.mimic.small import IDS, ids, quiet, run, three_notes
from tests.unit.pipelines.raw import documents, note_iii, write_csv, write_ids, write_iii, write_iv


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
