"""What `check data` says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sdl_study.data.check import describe, verify
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from tests.unit.data import small


def test_it_tells_train_and_dev_and_never_opens_test_labels(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    (tmp_path / "out" / "test_labels.parquet").unlink()
    told = describe(PreparedData.load(tmp_path / "out"), batch_size=8)
    for part in (
        "small: text, restricted",
        "split: made for tests",
        "train           36        18",
        "labels: 4 (head",
        "1 never in train",
        "random batches of 8: disjoint ",
        "valid anchors with train.label_aware=1: any, mulsupcon, jaccard, sd ",
        "words of a train text: ",
        "groups in two splits: dev-test 0, train-dev 0, train-test 0 (none)",
    ):
        assert part in told
    assert small.texts()[0] not in told
    assert "source" not in told


def test_small_counts_of_restricted_labels_are_not_shown(tmp_path: Path) -> None:
    one = small.index().with_columns(
        pl.when(pl.col("source_id") == "source 0").then(pl.lit([3])).otherwise("labels").alias("labels")
    )
    small.write_text(tmp_path / "restricted", index=one)
    small.write_text(tmp_path / "open", index=one, terms="open")
    assert "<10  D  d" in describe(PreparedData.load(tmp_path / "restricted"), 8)
    assert "  1  D  d" in describe(PreparedData.load(tmp_path / "open"), 8)


def test_leakage_is_a_warning(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out", texts=["the same text"] * 60)
    told = describe(PreparedData.load(tmp_path / "out"), 8)
    assert "duplicate inputs: dev-test 1, train-dev 1, train-test 1\n" in told
    assert "warning: splits are not independent" in told


@pytest.mark.parametrize(("file", "column"), [("examples", "text"), ("labels", "name")])
def test_changed_content_is_found(tmp_path: Path, file: str, column: str) -> None:
    small.write_text(tmp_path / "out")
    prepared = PreparedData.load(tmp_path / "out")
    path = tmp_path / "out" / f"{file}.parquet"
    pl.read_parquet(path).with_columns(pl.col(column).str.to_uppercase()).write_parquet(path)
    with pytest.raises(UserError, match=rf"{file}\.parquet: content differs"):
        verify(prepared)


def test_changed_features_are_found(tmp_path: Path) -> None:
    prepared = small.write_features(tmp_path / "out")
    verify(prepared)
    path = tmp_path / "out" / "features.npy"
    values = np.load(path)
    values[7, 0] += 1
    np.save(path, values)
    with pytest.raises(UserError, match=r"features\.npy: content differs"):
        verify(prepared)


@pytest.mark.parametrize(
    ("least", "told"),
    [
        (6, "train 3, dev 3"),
        (7, "train 3, dev 0 (fewer than half of the 3 that dev has, so that all of them count)"),
    ],
)
def test_labels_that_count_in_an_objective_are_told_by_split(tmp_path: Path, least: int, told: str) -> None:
    small.write_text(tmp_path / "out")
    (tmp_path / "out" / "test_labels.parquet").unlink()
    lines = describe(PreparedData.load(tmp_path / "out"), 8, least).splitlines()
    words = f"labels with at least {least} positives, which count in an objective over labels: {told}"
    assert [line for line in lines if line.startswith("labels with")] == [words]
    assert "labels with" not in describe(PreparedData.load(tmp_path / "out"), 8)
