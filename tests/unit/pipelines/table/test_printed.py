"""Label cells that hold what some program printed for a list, a set or an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.unit.pipelines.table.small import found, jsonl, parquet, refused, text_file

PRINTED = (
    "['a', 'b']", "['a' 'b']", "[a, b]", '["a", "b"]', "[]", "[1 2 3]", "['a',\n 'b']", "['a', 'b', ...",
    "{a,b}", '{"a b","c"}', '{"a \\" b",c}', "{}", "{{a},{b}}", "[0:1]={a,b}", "{'a', 'b'}", "{'a': 1}",
    '{"a": 1, "b": 0}', '{"labels": ["a"]}', " {a} ",
    "('a', 'b')", "('a',)", "()", "(1, 2)", "(1,)", '("a",)',
    "set()", "frozenset({'a'})", "frozenset()", "{'a'}", "list([])", "deque(['a'])", "dict_keys(['a'])",
    "array(['a', 'b'], dtype=object)", "array([1, 2])", "np.array(['a'])", "Index(['a'], dtype='object')",
    "array([], dtype=float64)",
    'c("a", "b")', "c('a')", "c(1, 2)", 'list("a", "b")', "character(0)", "list()",
    "'a', 'b'", '"a","b"', '"a"', "'a';'b'", "System.String[]", "[Ljava.lang.String;@1b6d3586", "[object Object]",
    "<generator object labels at 0x7f3a5c0b1d60>", "<map object at 0x7F3A>",
)  # fmt: skip
GENUINE = (
    "a", "a b", "(benign) tumour", "tumour (benign)", "a (b), c (d)", "(a),(b)", "(benign)", "f(x)", "a's",
    "rock 'n' roll", "5' end", "a [b]", "{a} b", "c", "set", "list", "array", "A<B", "x=[1]", "C(2)", "(1)", "<5",
)  # fmt: skip


def cells(cell: str) -> list[str]:
    return ["a", cell, "b"]


@pytest.mark.parametrize("cell", PRINTED)
def test_what_a_program_printed_is_refused_in_every_kind_of_file(tmp_path: Path, cell: str) -> None:
    expected = ", row 2, field tags: a list, set or object as a program prints it; "
    assert refused(parquet(tmp_path, tags=cells(cell))).startswith(expected)
    assert refused(jsonl(tmp_path, tags=cells(cell))).startswith(expected)
    frame = pl.DataFrame({"body": ["x", "y", "z"], "tags": cells(cell), "fold": ["train", "dev", "test"]})
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        file = text_file(tmp_path, frame.write_csv(separator=separator, quote_style="necessary"), name)
        assert refused(file, separator=";").startswith(expected), name


@pytest.mark.parametrize("cell", GENUINE)
def test_brackets_and_quotes_inside_labels_are_letters(tmp_path: Path, cell: str) -> None:
    file = parquet(tmp_path, tags=cells(cell))
    assert found(file, separator=";")["2"][1] == {cell}


@pytest.mark.parametrize(
    "items", [["['a'", " 'b']"], ['["a"', '"b"]'], ["{'a'", "'b'}"], ["('a'", "'b')"], ["array(['a'"]]
)
def test_a_printed_list_that_was_split_at_its_commas_is_refused(tmp_path: Path, items: list[str]) -> None:
    tags: Any = [["a"], items, ["b"]]
    expected = ", row 2, field tags: a list, set or object as a program prints it; "
    assert refused(parquet(tmp_path, tags=tags)).startswith(expected)
    assert refused(jsonl(tmp_path, tags=tags)).startswith(expected)


def test_items_of_true_lists_may_have_brackets(tmp_path: Path) -> None:
    file = parquet(tmp_path, tags=[["[CLS]"], ["{x}", "(y)"], ["a"]])
    assert found(file)["2"][1] == {"{x}", "(y)"}
