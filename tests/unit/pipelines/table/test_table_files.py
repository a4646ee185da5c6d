"""What CSV, TSV, JSONL and Parquet files of other people hold: taken as meant, or refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from pipelines.shared.tables import listed
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.table.small import (
    GOOD,
    HEAD,
    SPLITS,
    found,
    jsonl,
    parquet,
    refused,
    run,
    text_file,
)


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test\n\n\n",
        HEAD + "1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test\n,,,\n",
        (HEAD + "1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test").replace("\n", "\r"),
        ("\ufeff" + HEAD + '1,"text 0",a,train\n2,text 1,"a",dev\n3,text 2,a,test\n').replace("\n", "\r\n"),
        HEAD.replace("body", '"body"') + "1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test\n",
        HEAD.replace("fold", 'fold,"two\nlines"') + "1,text 0,a,train,\n2,text 1,a,dev,\n3,text 2,a,test,\n",
    ],
)
def test_line_ends_empty_lines_and_a_mark_at_the_beginning(tmp_path: Path, content: str) -> None:
    assert found(text_file(tmp_path, content), id="id") == GOOD


def test_a_row_keeps_its_number_behind_an_empty_line(tmp_path: Path) -> None:
    content = HEAD + "1,text 0,a,train\n\n2,text 1,a,dev\n3,text 2,a,final\n"
    assert refused(text_file(tmp_path, content)).startswith(", row 4, field fold: unknown split")


def test_a_quote_inside_an_unquoted_field_is_part_of_the_text(tmp_path: Path) -> None:
    content = HEAD + '1,5" nail,a,train\n2,text 1,a,dev\n3,a 3" one,a,test\n'
    texts = [text for _, _, text in found(text_file(tmp_path, content)).values()]
    assert texts == ['5" nail', "text 1", 'a 3" one']


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (['"oh no', "text 1", 'it is "real"'], ['"oh no', "text 1", 'it is "real"']),
        (['"oh no', "text 1", 'the end"'], ['"oh no', "text 1", 'the end"']),
        (['"Sponge" is too real', "text 1", "text 2"], ['"Sponge" is too real', "text 1", "text 2"]),
        (['"he said ""so"""', '"text 1"', "text 2"], ['he said "so"', "text 1", "text 2"]),
        (['"a tab\there"', "text 1", '"two\nlines"'], ["a tab\there", "text 1", "two\nlines"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_tsv_is_read_without_quoting_where_quotes_enclose_no_fields(
    tmp_path: Path, cells: list[str], texts: list[str], packed: bool
) -> None:
    rows = [f"{i}\t{cell}\ta\t{split}\n" for i, (cell, split) in enumerate(zip(cells, SPLITS, strict=True))]
    content = (HEAD.replace(",", "\t") + "".join(rows)).encode()
    file = text_file(tmp_path, gzip.compress(content) if packed else content, "t.tsv" + ".gz" * packed)
    assert [text for _, _, text in found(file).values()] == texts


@pytest.mark.parametrize("name", ["t[1].csv", "t[1].tsv", "t[1].jsonl", "t[1].parquet", "t*.parquet"])
def test_brackets_and_stars_in_a_path_are_letters(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"body": ["text 0", "text 1", "text 2"], "tags": ["a"] * 3, "fold": list(SPLITS)})
    file = tmp_path / name
    if file.suffix in (".csv", ".tsv"):
        frame.write_csv(file, separator="\t" if file.suffix == ".tsv" else ",")
    elif file.suffix == ".jsonl":
        frame.write_ndjson(file)
    else:
        frame.write_parquet(file)
    assert found(file) == GOOD


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    content = "row,label,count,fold\n1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test\n"
    assert "is used inside" in refused(text_file(tmp_path, "__sdl_row__," + HEAD, "used.csv"))
    assert found(text_file(tmp_path, content), id="row", text="label", labels="count") == GOOD


def test_blanks_around_groups_ids_splits_and_labels_do_not_count(tmp_path: Path) -> None:
    rows = [f"k{i} ,text {i}, a ; b,P{i // 2}{' ' * (i % 2)}\n" for i in range(60)]
    file = text_file(tmp_path, "key,body,tags,patient\n" + "".join(rows))
    manifest = run(file, tmp_path / "out", split=None, id="key", group="patient", separator=";")
    assert sum(counts.groups for counts in manifest.counts.values()) == 30
    ids = pl.read_parquet(tmp_path / "out" / "id_map.parquet")
    assert set(ids["source_group"]) == {f"P{i}" for i in range(30)}
    assert ids["source_id"].to_list() == [f"k{i}" for i in range(60)]
    twice = text_file(tmp_path, HEAD + "a,x,p,train\nb,y,p,dev\nb ,z,p,test\na,w,p,test\n", "twice.csv")
    with pytest.raises(UserError, match="row 3, field id: duplicate id"):
        run(twice, tmp_path / "other", id="id")


def test_jsonl_nulls_numbers_and_fields_that_nobody_asked_for(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path, tags=[["a", None], ["a"], ["a"]], g1=[1, 0.5, 2], meta=[1, "x", {"y": [[1]]}], own=[1, 2, 3]
    )
    file.write_text("\ufeff" + file.read_text())
    assert found(file, id="own") == GOOD
    run(file, tmp_path / "features", features="g*")
    assert PreparedData.load(tmp_path / "features").features().ravel().tolist() == [1, 0.5, 2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tags": ["a,marker", ["a"], ["a"]]}, ", row 2, field tags: a list of texts where row 1 has text"),
        ({"tags": [[], ["a"], "a"]}, ", row 3, field tags: text where row 2 has a list of texts"),
        ({"tags": [["a", 1], ["a"], ["a"]]}, ", row 1, field tags: a list of"),
        ({"tags": [["a"], [["marker"]], ["a"]]}, ", row 2, field tags: a list of lists"),
        ({"tags": [["a"], ["a"], [{"marker": 1}]]}, ", row 3, field tags: a list of objects"),
        ({"tags": [{"marker": 1}] * 3}, ", row 1, field tags: object"),
        ({"tags": [[True], [False], []]}, ", field tags: holds List(Boolean)"),
        ({"tags": [[0, 1, 0], [1, 0, 0], [0, 0, 0]]}, ", field tags: holds vectors of numbers"),
        ({"tags": [[0.5], [1], []]}, ", field tags: holds List(Float64)"),
        ({"body": ["text", ["marker"], "text"]}, ", row 2, field body: a list of texts where row 1 has text"),
        ({"body": ["x", "marker \ud83d", "z"]}, ", row 2, field body: half of a surrogate pair"),
        ({"body": [["x"], ["marker \ud83d"], ["z"]]}, ", row 2, field body: half of a surrogate pair"),
        ({"body": [1, 2**70, 3]}, ", row 2, field body: a number beyond 64 bits"),
        ({"fold": ["train", 1, "test"]}, ", row 2, field fold: number where row 1 has text"),
    ],
)
def test_jsonl_that_is_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    assert refused(jsonl(tmp_path, **columns)).startswith(message)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"body": ' + "1" * 5_000 + "}", "marker"])
def test_jsonl_lines_that_are_not_json(tmp_path: Path, line: str) -> None:
    file = jsonl(tmp_path)
    file.write_text(file.read_text() + "\n" + line + "\n")
    assert refused(file) == ", row 5: not JSON"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tags": [[["a"]], [["b", "c"]], [[]]]}, ", field tags: holds List(List)"),
        ({"tags": [[{"marker": "a"}]] * 3}, ", field tags: holds List(Struct)"),
        ({"tags": [{"marker": "a"}] * 3}, ", field tags: holds Struct"),
        ({"tags": [1.0, None, 2.0]}, ", field tags: holds Float64"),
        ({"tags": [True, False, True]}, ", field tags: holds Boolean"),
        ({"tags": [[0, 1, 0], [1, 0, 0], [0, 0, 0]]}, ", field tags: holds vectors of numbers"),
        ({"body": [{"marker": "x"}] * 3}, ", field body: holds Struct"),
        ({"body": [[["marker"]]] * 3}, ", field body: holds List(List)"),
        ({"body": [b"x", b"marker \xff", b"z"]}, ", row 2, field body: not UTF-8 text"),
    ],
)
def test_parquet_that_is_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    assert refused(parquet(tmp_path, **columns)).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0], [2.0], [3.0]], ", field g1: holds List(Float64), not numbers"),
        ([{"marker": 1.0}] * 3, ", field g1: holds Struct, not numbers"),
        (pl.Series(["2020-01-01"] * 3).str.to_date(), ", field g1: holds Date, not numbers"),
    ],
)
def test_features_that_are_no_numbers(tmp_path: Path, values: Any, message: str) -> None:
    assert refused(parquet(tmp_path, g1=values), features="g*") == message


def test_parquet_that_is_taken(tmp_path: Path) -> None:
    labels = pl.Series(["a", "a", "a"], dtype=pl.Categorical)
    file = parquet(tmp_path, tags=labels, body=[b"text 0", b"text 1", b"text 2"])
    assert found(file) == GOOD
    run(parquet(tmp_path, tags=[[1, 2], [2, 3], [1, 3]]), tmp_path / "numbers")
    assert PreparedData.load(tmp_path / "numbers").label_codes == ["1", "2", "3"]


def test_names_are_shown_only_where_all_of_them_look_like_names() -> None:
    assert listed(["_id", "gene.1", " fold ", ""]) == "found _id, gene.1, fold, ''"
    assert listed([f"gene_{i}" for i in range(30)]).endswith("gene_19 and 10 more")
    for names in (["id", "chest pain"], ["id", "id"], ["id", "7"], ["id", "x" * 41]):
        assert listed(names, "the schema").startswith("the schema does not look like")


def test_changed_images_are_another_input(tmp_path: Path) -> None:
    for split in SPLITS:
        Image.new("RGB", (4, 4)).save(tmp_path / f"{split}.png")
    rows = [f"{split}.png,a,{split}\n" for split in SPLITS]
    file = text_file(tmp_path, "file,tags,fold\n" + "".join(rows))
    first = run(file, tmp_path / "out", image="file")
    assert run(file, tmp_path / "out", image="file").fingerprint == first.fingerprint
    Image.new("RGB", (4, 4), (200, 0, 0)).save(tmp_path / "dev.png")
    with pytest.raises(UserError, match="other arguments or input files"):
        run(file, tmp_path / "out", image="file")
