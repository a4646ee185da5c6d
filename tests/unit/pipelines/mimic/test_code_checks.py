"""Codes that are none, and codes that went through a column of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.mimic import Options, prepare
from pipelines.mimic.code_checks import remarks_on
from sdl_study.data.prepared import Manifest
from sdl_study.errors import UserError
from tests.unit.pipelines.mimic.small import IDS, ids, three_notes
from tests.unit.pipelines.raw import documents, note_iii, write_iii, write_iv

DOUBT = "was the column read as a number, which drops leading zeros?"


def run(source: Path, out: Path, lines: list[str] | None = None, **options: Any) -> Manifest:
    given: dict[str, Any] = {"release": "mimic-iii", "codes": "icd9", "labels": "full", **options}
    said = [] if lines is None else lines
    return prepare(source, out, Options(**given), progress=said.append)


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "NaN",
        "NULL",
        "null",
        "None",
        "NA",
        "<NA>",
        "N/A",
        "NoDx",
        "\\N",
        "-",
        "?",
        "unknown",
        "#DIV/0!",
        "6.00E+05",
    ],
)
@pytest.mark.parametrize("kind", ["diagnosis", "procedure"])
def test_words_in_place_of_codes_are_left_out_aloud(tmp_path: Path, word: str, kind: str) -> None:
    spoilt: list[tuple[int, str]] = [(101, word), (102, f" {word} ")]
    diagnoses = [(h, "4019") for h in IDS] + (spoilt if kind == "diagnosis" else [])
    lines: list[str] = []
    source = three_notes(tmp_path, diagnoses, spoilt if kind == "procedure" else [])
    run(source, tmp_path / "out", lines, split=ids(tmp_path))
    assert {codes for _, (_, found, _) in documents(tmp_path / "out").items() for codes in found} == {"401.9"}
    said = [line for line in lines if "left out" in line]
    file = {"diagnosis": "DIAGNOSES_ICD", "procedure": "PROCEDURES_ICD"}[kind]
    assert len(said) == 1
    assert said[0].startswith(f"{source}/{file}.csv: 2 rows whose icd9_code is no code")
    shown = (
        f"'{word}'"
        if word.lower() in ("nodx", "null", "nan", "none", "na", "<na>", "n/a", "\\n", "#div/0!")
        else ""
    )
    assert shown in said[0]
    assert "unknown" not in said[0]


def test_words_in_place_of_codes_of_mimic_iv(tmp_path: Path) -> None:
    codes = [*((h, "I10", 10) for h in IDS), (101, "NoDx", 10), (102, "nan", 9)]
    source = write_iv(tmp_path / "raw", [(h, h, f"text {h}") for h in IDS], codes)
    lines: list[str] = []
    run(source, tmp_path / "out", lines, release="mimic-iv", codes="icd10", split=ids(tmp_path))
    assert any(
        line.endswith("2 rows whose icd_code is no code but 'NoDx', 'nan' are left out") for line in lines
    )


@pytest.mark.parametrize("text", ["nan", "NaN", " NULL ", "None", "\\N", "#N/A"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_words_in_place_of_summaries_are_left_out_aloud(tmp_path: Path, text: str, ending: str) -> None:
    notes = [note_iii(i, h, str(h), f"text {h}") for i, h in enumerate(IDS)]
    notes += [
        note_iii(8, 101, "101", text),
        note_iii(9, 9, "109", text),
        note_iii(10, 1, "1", text, category="ECG"),
    ]
    source = write_iii(tmp_path / "raw", notes, [(h, "4019") for h in (*IDS, 109)], ending=ending)
    lines: list[str] = []
    run(source, tmp_path / "out", lines, split=ids(tmp_path))
    assert documents(tmp_path / "out")["101"][2] == "text 101"
    assert any(line.endswith("2 summaries without text are left out") for line in lines)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("procedure", "3893.0"), ("procedure", "117.0"), ("procedure", "0.66"), ("procedure", "1.17"),
        ("procedure", "38.9.3"),
        ("diagnosis", "4019.0"), ("diagnosis", "38.9"), ("diagnosis", "8.45"), ("diagnosis", "25000.0"),
        ("diagnosis", "V5.861"),
        ("diagnosis", "E87.82"),
    ],
)  # fmt: skip
def test_a_dot_in_a_strange_place_is_refused(tmp_path: Path, kind: str, code: str) -> None:
    codes = [(101, code)]
    diagnoses = [(h, "4019") for h in IDS] + (codes if kind == "diagnosis" else [])
    source = three_notes(tmp_path, diagnoses, codes if kind == "procedure" else [])
    with pytest.raises(UserError) as caught:
        run(source, tmp_path / "out")
    file, row = ("DIAGNOSES_ICD", 4) if kind == "diagnosis" else ("PROCEDURES_ICD", 1)
    begin = (
        f"{source}/{file}.csv, row {row}, field icd9_code: a dot where an ICD-9 {kind} code has none (1 rows)"
    )
    assert str(caught.value).startswith(begin)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("procedure", "38.93"), ("procedure", "66."), ("procedure", "00.66"), ("diagnosis", "401.9"),
     ("diagnosis", "486."),
     ("diagnosis", "V58.61"), ("diagnosis", "e878.2"), ("diagnosis", " 038.9 ")],
)  # fmt: skip
def test_a_dot_in_its_place_is_none_of_a_number(tmp_path: Path, kind: str, code: str) -> None:
    codes = [(h, code) for h in IDS]
    four = [(h, "4019") for h in IDS]
    source = three_notes(
        tmp_path, codes if kind == "diagnosis" else four, codes if kind == "procedure" else []
    )
    run(source, tmp_path / "out", split=ids(tmp_path))


def pairs(kind: str, **codes: int) -> pl.DataFrame:
    rows = [(kind, code.removeprefix("c")) for code, count in codes.items() for _ in range(count)]
    return pl.DataFrame(rows, schema=["kind", "code"], orient="row")


def test_codes_that_lost_their_zeros_are_told() -> None:
    lost = pairs("procedure", c117=96, c9604=48, c3893=48, c66=48)
    assert remarks_on(lost, 9, compat=False) == [
        f"48 rows hold 1 procedure codes that do not look like ICD-9's (66); {DOUBT}",
        f"none of 240 procedure codes begins with 0; {DOUBT}",
    ]
    assert remarks_on(lost, 9, compat=True) == []
    assert remarks_on(pairs("procedure", c117=96, c0117=1, c3893=3), 9, compat=False) == []
    assert remarks_on(pairs("procedure", c117=40, c3893=30, c9604=29), 9, compat=False) == []
    diagnoses = pairs("diagnosis", c389=50, c4019=50, c486=50, V5861=50)
    assert remarks_on(diagnoses, 9, compat=True) == [f"none of 150 diagnosis codes begins with 0; {DOUBT}"]
    assert remarks_on(pairs("diagnosis", c41=2, c0414=9), 9, compat=False) == [
        f"2 rows hold 1 diagnosis codes that do not look like ICD-9's (41); {DOUBT}"
    ]
    packed = pairs("procedure", c16070=2, c0016070=5)
    assert remarks_on(packed, 10, compat=False) == [
        f"2 rows hold 1 procedure codes that do not look like ICD-10's; {DOUBT}"
    ]


def test_good_codes_are_not_doubted() -> None:
    nine = {"c0389": 50, "c4019": 50, "c25000": 50, "V5861": 9, "V10": 9, "E8498": 9, "E849": 9}
    assert remarks_on(pairs("diagnosis", **nine), 9, compat=False) == []
    ten = {"I10": 90, "I2510": 90, "C7A1": 9, "S72001A": 9, "Z3A12": 9}
    assert remarks_on(pairs("diagnosis", **ten), 10, compat=False) == []
    assert remarks_on(pairs("procedure", c02HV33Z=90, c0016070=9), 10, compat=False) == []


def test_a_doubt_stands_in_the_manifest_and_is_printed(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS], [(101, "66")])
    lines: list[str] = []
    note = f"1 rows hold 1 procedure codes that do not look like ICD-9's (66); {DOUBT}"
    assert run(source, tmp_path / "out", lines, split=ids(tmp_path)).notes == [note]
    assert note in lines
