"""Every spelling of a missing value, in every column and kind of file: refused, or what --missing says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.table import command
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import documents
from tests.unit.pipelines.table.small import found, jsonl, parquet, refused, run, text_file

WORDS = (
    "nan", "NaN", "NAN", "-nan", "NA", "na", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "NaT", "None", "none", "NONE",
    "NULL", "null", "Null", "(null)", "[NULL]", "<null>", "\\N", "nil", "undefined", "missing", "NA_character_",
    "#VALUE!", "#DIV/0!", "#REF!", "1.#IND", " nan ", "\u00a0NA\u00a0",
)  # fmt: skip
SIGNS = ("-", "--", ".", "?", "–")
GENUINE = (
    "Nancy",
    "nano",
    "Nullarbor",
    "nonesuch",
    "an",
    "NA+",
    "naan",
    "a none",
    "n",
    "0",
    "-1",
    "missing teeth",
)
NOT_A_LABEL = ("[NULL]",)  # a printed list first


def file_of(folder: Path, ending: str, **columns: Any) -> Path:
    if ending == "jsonl":
        return jsonl(folder, **columns)
    if ending == "parquet":
        return parquet(folder, **columns)
    good: dict[str, Any] = {
        "body": ["x", "y", "z"],
        "tags": ["a", "b", "a"],
        "fold": ["train", "dev", "test"],
    }
    separator = "\t" if ending == "tsv" else ","
    return text_file(folder, pl.DataFrame(good | columns).write_csv(separator=separator), f"t.{ending}")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_words_are_refused_in_every_column(tmp_path: Path, ending: str) -> None:
    for word in (*WORDS, *SIGNS):
        for column, given in (("tags", {}), ("key", {"group": "key"}), ("key", {"id": "key"}), ("fold", {})):
            if column == "tags" and word in NOT_A_LABEL:
                continue
            cells = ["dev", word, word] if column == "fold" else ["u", word, word]
            message = refused(file_of(tmp_path, ending, **{column: cells}), **given)
            begin = f", row 2, field {column}: '{word.strip()}' is a word for a missing value, in 2 rows; "
            assert message.startswith(begin), (word, message)
        if word in WORDS:
            message = refused(file_of(tmp_path, ending, body=["u", word, word]))
            assert message.startswith(f", row 2, field body: '{word.strip()}' is a word for"), word


def test_a_lone_sign_is_a_text(tmp_path: Path) -> None:
    assert [text for _, _, text in found(parquet(tmp_path, body=["?", "-", "."])).values()] == ["?", "-", "."]


@pytest.mark.parametrize("word", GENUINE)
def test_words_that_only_look_alike_are_taken(tmp_path: Path, word: str) -> None:
    file = parquet(tmp_path, body=["u", word, "v"], tags=["a", word, "b"], key=["k", word, "l"])
    assert found(file, id="key", separator=";")[word] == ("dev", {word}, word)


def test_a_word_among_other_labels_counts_too(tmp_path: Path) -> None:
    message = ", row 2, field tags: 'nan' is a word for a missing value, in 1 rows; give --missing empty if"
    assert refused(parquet(tmp_path, tags=["a", "b, nan", "b"])).startswith(message)
    assert refused(parquet(tmp_path, tags=[["a"], ["b", "nan"], ["b"]])).startswith(message)
    assert refused(jsonl(tmp_path, tags=[["a"], ["nan -- x"], ["b"]]), up_to="--").startswith(message)


def test_the_rule_says_what_the_word_means(tmp_path: Path) -> None:
    file = parquet(tmp_path, tags=["a, NA", "None", "b"])
    run(file, tmp_path / "empty", missing="empty")
    assert [codes for _, codes, _ in documents(tmp_path / "empty").values()] == [{"a"}, set(), {"b"}]
    run(file, tmp_path / "keep", missing="keep")
    assert [codes for _, codes, _ in documents(tmp_path / "keep").values()] == [{"a", "NA"}, {"None"}, {"b"}]
    names = parquet(tmp_path, key=["k", "nan", "l"])
    assert refused(names, id="key", missing="empty") == ", row 2, field key: empty"
    assert "nan" in found(names, id="key", missing="keep")


def test_the_rule_from_the_command_line_is_part_of_the_preparation(tmp_path: Path) -> None:
    file = parquet(tmp_path, tags=["a", "None", "b"])
    given = [str(file), str(tmp_path / "out"), "--text", "body", "--labels", "tags", "--split", "fold"]
    with pytest.raises(UserError, match="'None' is a word for a missing value"):
        command(given)
    command([*given, "--missing", "keep"])
    assert PreparedData.load(tmp_path / "out").manifest.source["missing"] == "keep"
    with pytest.raises(UserError, match="other arguments"):
        command([*given, "--missing", "empty"])


def test_a_rule_that_was_not_given_is_in_no_record(tmp_path: Path) -> None:
    """A data set that was prepared before there was such a rule is found prepared."""
    run(parquet(tmp_path), tmp_path / "out")
    assert "missing" not in (tmp_path / "out" / "preparation.json").read_text()
    assert "missing" not in PreparedData.load(tmp_path / "out").manifest.source


@pytest.mark.parametrize("column", ["key", "body", "fold"])
def test_numbers_that_are_none_are_empty(tmp_path: Path, column: str) -> None:
    given = {"key": {"group": "key"}, "body": {}, "fold": {}}[column]
    file = parquet(tmp_path, **{column: [1.0, float("nan"), 2.0]})
    assert refused(file, **given) == f", row 2, field {column}: empty"


def with_constant(folder: Path, word: str, **columns: Any) -> Path:
    file = jsonl(folder, **columns)
    file.write_text(file.read_text().replace('"CONSTANT"', word))
    return file


def test_nan_in_jsonl_is_missing_like_null(tmp_path: Path) -> None:
    for number, tags in enumerate(
        (["CONSTANT", "a", "b"], ["CONSTANT", ["a"], ["b"]], [["CONSTANT", "c"], ["a"], ["b"]])
    ):
        file = with_constant(tmp_path, "NaN", tags=tags)
        run(file, tmp_path / f"nan{number}")
        null = with_constant(tmp_path, "null", tags=tags)
        run(null, tmp_path / f"null{number}")
        assert documents(tmp_path / f"nan{number}") == documents(tmp_path / f"null{number}")
        assert [codes for _, codes, _ in documents(tmp_path / f"nan{number}").values()][1:] == [{"a"}, {"b"}]
    for column in ("body", "fold"):
        message = refused(with_constant(tmp_path, "NaN", **{column: ["train", "CONSTANT", "dev"]}))
        assert message == f", row 2, field {column}: empty"
    assert (
        refused(with_constant(tmp_path, "NaN", key=[1, "CONSTANT", 2]), group="key")
        == ", row 2, field key: empty"
    )
    message = refused(with_constant(tmp_path, "NaN", g1=[1, "CONSTANT", 2]), features="g*")
    assert message.startswith(", row 2, field g1: empty")


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "1e999"])
def test_infinity_in_jsonl_is_named(tmp_path: Path, word: str) -> None:
    for column, rows in (("tags", ["a", "CONSTANT", "b"]), ("body", ["x", "CONSTANT", "y"])):
        message = refused(with_constant(tmp_path, word, **{column: rows}))
        assert message.startswith(f", row 2, field {column}: an infinite number where row 1 has text")
    message = refused(with_constant(tmp_path, word, tags=["CONSTANT", ["a"], ["b"]]))
    assert message.startswith(", row 2, field tags: a list of texts where row 1 has an infinite number")
    message = refused(with_constant(tmp_path, word, g1=[1, "CONSTANT", 2]), features="g*")
    assert message.startswith(", row 2, field g1: an infinite number")


def test_a_group_that_holds_much_is_told(tmp_path: Path) -> None:
    rows = [{"body": f"text {i}", "tags": ["a"], "who": f"p{i}" if i % 2 else "unknown"} for i in range(60)]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = run(file, tmp_path / "out", split=None, group="who").notes
    assert notes == ["one of 31 groups holds 30 of 60 rows; does its name mean that the group is not known?"]


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", " \u2060\u00a0", "\u00ad", "\x00"])
def test_what_nobody_sees_is_empty(tmp_path: Path, unseen: str) -> None:
    for column, given in (("body", {}), ("key", {"group": "key"}), ("key", {"id": "key"}), ("fold", {})):
        cells = ["train", unseen, "dev"]
        assert refused(parquet(tmp_path, **{column: cells}), **given) == f", row 2, field {column}: empty"
    assert found(parquet(tmp_path, tags=["a", f"{unseen},b", unseen]))["3"][1] == set()
