"""What does not fit together in a preparation is told before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sdl_study.data.preparation import refuse_unfit
from sdl_study.data.writer import write_prepared
from sdl_study.errors import UserError
from tests.unit.data import small


def changed(**columns: Any) -> pl.DataFrame:
    return small.index().with_columns(**columns)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": small.index().drop("source_id")}, "the index has no column 'source_id'"),
        (
            {"index": changed(source_group=pl.lit(None, pl.String))},
            "field source_group of the index: null in some rows",
        ),
        (
            {"index": changed(labels=pl.lit(None, pl.List(pl.Int32)))},
            "field labels of the index: null in some rows",
        ),
        (
            {"index": changed(split=pl.lit("validation"))},
            "field split of the index: unknown; use train, dev or test",
        ),
        ({"index": changed(labels=pl.lit("a"))}, "field labels of the index: not lists of numbers"),
        ({"index": changed(labels=pl.lit(["a"]))}, "field labels of the index: not lists of numbers"),
        ({"index": changed(labels=pl.lit([0.0]))}, "field labels of the index: not lists of numbers"),
        ({"index": changed(labels=pl.lit([4]))}, "field labels of the index: 4 where there are 4 labels"),
        ({"index": changed(labels=pl.lit([-1]))}, "field labels of the index: -1 where there are 4 labels"),
        ({"label_names": ["a"]}, "4 label_codes and 1 label_names"),
        (
            {"features": np.zeros((60, 2), np.float32)},
            "features are given with modality 'features', and only then",
        ),
        ({"modality": "features"}, "features are given with modality 'features', and only then"),
        (
            {"modality": "features", "features": np.zeros((59, 2), np.float32)},
            "features of 59 rows for an index of 60",
        ),
    ],
)
def test_unfit_parts(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^small: {message}"):
        write_prepared(tmp_path / "out", small.preparation(**changes), [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", [(59,), (30, 29), (), (61,), (60, 1), (30, 31), (200,)])
def test_more_or_fewer_inputs_than_rows(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    chunks = [pl.DataFrame({"text": ["x"] * size}) for size in sizes]
    with pytest.raises(UserError, match=r"^small: \d+ (or more )?inputs for an index of 60 rows$"):
        write_prepared(tmp_path / "out", small.preparation(), chunks)
    assert not list(tmp_path.iterdir())


def test_a_column_of_inputs_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^small: the inputs have no column 'image_digest'"):
        write_prepared(tmp_path / "out", small.preparation("image"), [pl.DataFrame({"image": ["r/x"] * 60})])
    assert not list(tmp_path.iterdir())


def test_empty_label_lists_of_no_type_fit() -> None:
    index = small.index().with_columns(labels=pl.Series([[]] * 60))
    assert index["labels"].dtype == pl.List(pl.Null)
    refuse_unfit(small.preparation(index=index))
