"""Relatives of printed lists and of columns in two roles, and codes that may be a patient's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.mimic.code_checks import _remarks
from pipelines.table import Columns
from pipelines.table.printed import is_piece, is_printed
from sdl_study.errors import UserError
from tests.unit.pipelines.table.small import found, jsonl, refused


def test_one_column_has_one_role() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"text": "labels"},
        {"text": "text", "group": "text"},
        {"text": "text", "split": "labels"},
    )
    for roles in wrong:
        with pytest.raises(UserError, match="is named twice"):
            Columns("labels", **roles)
    Columns("labels", text="text", group="id", id="id")  # a group of one each


@pytest.mark.parametrize(
    "item",
    [
        "['a'",
        "\u200b['a']",
    ],
)
def test_an_item_of_a_list_that_is_the_first_piece_of_a_printed_one(item: str) -> None:
    import polars as pl

    assert pl.DataFrame({"item": [item]}).select(is_piece(pl.col("item")))["item"][0]


@pytest.mark.parametrize("item", ["birch", "a {b} c", "f[0]", "x (y)", "don't", "", "a{1}b"])
def test_a_label_with_brackets_inside_is_a_label(item: str) -> None:
    import polars as pl

    assert not pl.DataFrame({"item": [item]}).select(is_piece(pl.col("item")))["item"][0]


@pytest.mark.parametrize("cell", ["\ufeff{birch,ember}", "\u200b['a','b']", " {a,b} \u2060"])
def test_invisible_characters_do_not_hide_a_printed_list(cell: str) -> None:
    import polars as pl

    assert pl.DataFrame({"cell": [cell]}).select(is_printed(pl.col("cell")))["cell"][0]


@pytest.mark.parametrize("code", ["SMITH1", "1234567", "J0HN", "A1B2C3"])
def test_what_may_be_a_patients_is_counted_and_not_shown(code: str) -> None:
    import polars as pl

    told = json.dumps(_remarks(pl.DataFrame({"code": [code] * 3}), "diagnosis", 9))
    assert "1 diagnosis codes that do not look like" in told
    assert code not in told


def test_numbers_of_few_digits_are_shown(tmp_path: Path) -> None:
    import polars as pl

    told = " ".join(_remarks(pl.DataFrame({"code": ["66", "66", "7"]}), "procedure", 9))
    assert "66" in told or "7" in told


@pytest.mark.parametrize("between", [",", ", ", ";", " ", "|"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_cells_of_zeros_and_ones_are_no_labels(tmp_path: Path, between: str, separator: str) -> None:
    """Split at commas they would be the two labels 0 and 1."""
    cells = [between.join(cell) for cell in ("101", "010", "001")]
    message = refused(jsonl(tmp_path, tags=cells), separator=separator)
    assert message.startswith(
        ", field tags: holds vectors of numbers, all of one length, not lists of labels"
    )


def test_lists_of_zeros_and_ones_as_texts_are_no_labels(tmp_path: Path) -> None:
    message = refused(jsonl(tmp_path, tags=[["1", "0", "1"], ["0", "1", "0"], ["0", "0", "1"]]))
    assert message.startswith(", field tags: holds vectors of numbers")


@pytest.mark.parametrize(
    "cells", [["0,1", "1,0", "0,1"], ["0", "1", "0"], ["1,0,1", "0", ""], ["1,0,1", "0,2,1", "0,0,1"]]
)
def test_labels_whose_names_are_numbers_are_labels(tmp_path: Path, cells: list[str]) -> None:
    taken = [codes for _, codes, _ in found(jsonl(tmp_path, tags=cells)).values()]
    assert taken == [{code for code in cell.split(",") if code} for cell in cells]
