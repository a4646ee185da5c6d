"""Column names, labels and groups that differ in what nobody sees."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.shared.forms import alike, bare, visible
from pipelines.table import Columns, prepare
from sdl_study.data.check import describe
from sdl_study.data.prepared import PreparedData
from tests.unit.pipelines.raw import documents
from tests.unit.pipelines.table.small import GOOD, SPLITS, found, jsonl, parquet, refused, run, text_file

ONLY = "differ from another one only in case, Unicode form, blanks, invisible characters or letters that look alike"
PADDED = (
    " {}", "{} ", "\t{}", "\u00a0{}", "{}\u00a0", "\u3000{}", "{}\u200b", "\ufeff{}", "\u2060{}", "{}\u00ad",
    "\u202a{}\u202c", " \u200b{}\n",
)  # fmt: skip


@pytest.mark.parametrize("padded", PADDED)
def test_blanks_and_invisible_characters_of_a_column_name_do_not_count(tmp_path: Path, padded: str) -> None:
    header = ["id", *(padded.format(name) for name in ("body", "tags", "fold"))]
    rows = [[str(i + 1), f"text {i}", "a", split] for i, split in enumerate(SPLITS)]
    frame = pl.DataFrame(rows, schema=header, orient="row")
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        quoted = {"quote_style": "always"} if "\t" in padded or "\n" in padded else {}
        file = text_file(tmp_path, frame.write_csv(separator=separator, **quoted), name)  # type: ignore[arg-type]
        run(file, tmp_path / f"{name}-out", id="id")
        assert documents(tmp_path / f"{name}-out") == GOOD
    frame.write_parquet(tmp_path / "t.parquet")
    run(tmp_path / "t.parquet", tmp_path / "parquet-out", id="id")
    frame.write_ndjson(tmp_path / "t.jsonl")
    run(tmp_path / "t.jsonl", tmp_path / "jsonl-out", id="id")
    assert documents(tmp_path / "parquet-out") == documents(tmp_path / "jsonl-out") == GOOD


def test_a_name_may_be_given_with_its_blanks_or_in_another_unicode_form(tmp_path: Path) -> None:
    file = parquet(tmp_path, **{" caf\u00e9": ["text 0", "text 1", "text 2"], "tags": ["a"] * 3})
    for number, given in enumerate((" caf\u00e9", "cafe\u0301", "caf\u00e9 ")):
        run(file, tmp_path / f"out{number}", text=given)
        assert documents(tmp_path / f"out{number}") == GOOD


def test_of_two_names_that_look_alike_the_one_that_is_written_so_is_taken(tmp_path: Path) -> None:
    good = ["text 0", "text 1", "text 2"]
    file = parquet(tmp_path, **{" body": ["x", "y", "z"], "body": good, "tags": ["a"] * 3})
    run(file, tmp_path / "exact")
    assert documents(tmp_path / "exact") == GOOD
    assert refused(file, text="body ").startswith(": 2 columns are called 'body ' but for blanks")
    features = parquet(tmp_path, **{"g1": [1, 2, 3], "g1 ": [1, 2, 3]})
    assert refused(features, features="g*").startswith(
        ": two columns that fit --features have the same name but for"
    )


def test_blanks_behind_every_separator_are_no_part_of_a_field(tmp_path: Path) -> None:
    content = 'id, body, tags, fold\n1, "text 0", "a", train\n2, text 1, a, dev\n3, "text, 2", "a, b", test\n'
    expected = {**GOOD, "3": ("test", {"a", "b"}, "text, 2")}
    assert found(text_file(tmp_path, content), id="id") == expected


def test_blanks_before_a_quote_are_kept_where_the_header_has_none(tmp_path: Path) -> None:
    content = 'id,body,tags,fold\n1," ""so"" it is",a,train\n2,text 1,a,dev\n3,text 2,a,test\n'
    assert found(text_file(tmp_path, content))["1"][2] == ' "so" it is'


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["amber\u00e9", "ambere\u0301", "b"], "'ambere\\u0301' and 'amber\u00e9'"),
        (["amber", "amber\u200b", "b"], "'amber' and 'amber\\u200b'"),
        (["AMBER", "amber", "b"], "'AMBER' and 'amber'"),
        (["a b", "a\u00a0b", "c"], "'a b' and 'a\\u00a0b'"),
        (["a  b", "a b", "c"], "'a  b' and 'a b'"),
        (["STRASSE", "straße", "c"], "'STRASSE' and 'straße'"),
        (["ﬁne", "fine", "c"], "'fine' and 'ﬁne'"),
        (["\ufeffa", "a", "c"], "'a' and '\\ufeffa'"),
        (["a-b", "a\u2011b", "c"], "'a-b' and 'a\u2011b'"),
        (["it's", "it’s", "c"], "'it's' and 'it’s'"),
        (["ACE", "\u0410\u0421\u0415", "c"], "'ACE' and '\\u0410\\u0421\\u0415'"),
        (["copd", "c\u043epd", "c"], "'copd' and 'c\\u043epd'"),
        (["TAX", "\u03a4\u0391\u03a7", "c"], "'TAX' and '\\u03a4\\u0391\\u03a7'"),
    ],
)
def test_labels_that_look_alike_are_told_and_kept(tmp_path: Path, labels: list[str], shown: str) -> None:
    lines: list[str] = []
    columns = Columns(labels="tags", text="body", split="fold")
    manifest = prepare(parquet(tmp_path, tags=labels), tmp_path / "out", columns, progress=lines.append)
    note = f"2 labels {ONLY} and may be 1: "
    assert manifest.notes == [note + shown]
    assert lines[-1] == f"note: {note}{shown}"
    data = PreparedData.load(tmp_path / "out")
    assert f"note: {note}{shown}" in describe(data, batch_size=2)
    assert sorted(data.label_codes) == sorted(labels)


def test_few_examples_are_shown_and_no_long_ones(tmp_path: Path) -> None:
    many = [f"label {i}" for i in range(9)]
    notes = run(jsonl(tmp_path, tags=[many, [name.upper() for name in many], ["x"]]), tmp_path / "a").notes
    assert notes[0].startswith("18 labels differ")
    assert notes[0].count(" and '") == 3
    sentence = "the patient came in with a marker of pain in the chest"
    notes = run(jsonl(tmp_path, tags=[[sentence], [sentence.upper()], ["x"]]), tmp_path / "b").notes
    assert notes[0].endswith("may be 1")
    assert run(jsonl(tmp_path, tags=[["a"], ["b"], ["á"]]), tmp_path / "c").notes == []


def test_groups_that_look_alike_are_told_without_their_names(tmp_path: Path) -> None:
    notes = run(parquet(tmp_path, who=["Marker", "marker", "other"]), tmp_path / "out", group="who").notes
    note = f"2 groups {ONLY} and may be 1; one patient may stand in two splits"
    assert notes == [note]


def test_invisible_characters_of_a_split_do_not_count(tmp_path: Path) -> None:
    file = parquet(tmp_path, fold=["Train\u200b", "\ufeffval", " test\u00a0"], tags=["a"] * 3)
    assert found(file) == GOOD


def test_a_letter_of_another_script_is_shown_by_its_number(tmp_path: Path) -> None:
    file = parquet(tmp_path, bоdy=["x", "y", "z"]).rename(tmp_path / "u.parquet")
    pl.read_parquet(file).drop("body").write_parquet(file)
    assert refused(file) == ": column 'body' is missing; found tags, fold, b\\u043edy"
    assert visible("имя") == "имя"


def test_forms() -> None:
    assert bare(" a\u00a0\u200b b\t") == "a b"
    assert bare("cafe\u0301") == "caf\u00e9"
    assert visible("a\u200bb\u00a0c d\u0301") == "a\\u200bb\\u00a0c d\\u0301"
    assert alike(["b", "a", "A", "a", "B ", "c"]) == [["A", "a"], ["B ", "b"]]


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (
            ["2-Sep", "Mar-01", "BRCA1"],
            "2 labels as a spreadsheet writes a date or a large number: '2-Sep', 'Mar-01'",
        ),
        (["1.00E+05", "a", "b"], "1 label as a spreadsheet writes a date or a large number: '1.00E+05'"),
        (["SEP2", "3-1", "march"], None),
        (["I10", "E11.9", "Z79.4"], None),
    ],
)
def test_labels_that_a_spreadsheet_may_have_changed_are_told(
    tmp_path: Path, labels: list[str], note: str | None
) -> None:
    columns = Columns(labels="tags", text="body", split="fold")
    notes = prepare(parquet(tmp_path, tags=labels), tmp_path / "out", columns).notes
    assert notes == [] if note is None else notes[0].startswith(note)
    assert len(notes) == (note is not None)


def test_labels_of_another_script_that_are_no_latin_ones_are_not_told(tmp_path: Path) -> None:
    columns = Columns(labels="tags", text="body", split="fold")
    labels = ["\u0440\u0430\u043a", "\u0430\u0441\u0442\u043c\u0430", "rak"]
    assert prepare(parquet(tmp_path, tags=labels), tmp_path / "out", columns).notes == []
