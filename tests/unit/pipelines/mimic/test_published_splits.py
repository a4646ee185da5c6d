"""Published splits of MIMIC."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.mimic import Options
from pipelines.mimic.published_counts import PUBLISHED
from pipelines.mimic.published_splits import read_id_lists, read_split_table
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import write_ids


def test_the_list_that_fits_the_labels_is_read(tmp_path: Path) -> None:
    write_ids(tmp_path, "full", [1, 2], [3], [4])
    write_ids(tmp_path, "50", [1], [3], [4])
    assert len(read_id_lists(tmp_path, "full").split_of) == 4
    assert len(read_id_lists(tmp_path, "top50").split_of) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"12.5\n", "line 2: not an admission id"),
        (b"1\n", "line 2: the id is listed already in 'train'"),
        (b"01.0\n", "line 2: the id is listed already in 'train'"),
        (b"\r\n10\xff\n", "line 3: not UTF-8 text"),
        ("10²\n".encode(), "line 2: not an admission id"),
        (b"99999999999999999999\n", "line 2: not an admission id"),
    ],
)
def test_mistakes_in_a_list_name_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    write_ids(tmp_path, "full", [1], [2], [3])
    with (tmp_path / "dev_full_hadm_ids.csv").open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=f"dev_full_hadm_ids.csv, {message}"):
        read_id_lists(tmp_path, "full")


def test_ids_as_floats_and_a_mark_at_the_beginning_of_a_list(tmp_path: Path) -> None:
    write_ids(tmp_path, "full", [1], [2], [3])
    (tmp_path / "train_full_hadm_ids.csv").write_bytes(b"\xef\xbb\xbf100.0\r\n 101 \r\n")
    assert list(read_id_lists(tmp_path, "full").split_of) == ["100", "101", "2", "3"]
    frame = pl.DataFrame({"_id": [100.0, 101.0, 2.0], "split": ["train", "val", "test"]})
    frame = frame.with_columns(pl.col("split").cast(pl.Categorical))
    frame.write_ipc(tmp_path / "split[1].feather")
    split_of = read_split_table(tmp_path / "split[1].feather").split_of
    assert split_of == {"100": "train", "101": "dev", "2": "test"}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"id": [1], "split": ["train"]}, "column '_id' is missing; found id, split"),
        ({"John marker": [1], "split": ["train"]}, "'_id' is missing; its schema does not look like"),
        ({"_id": [1, 1], "split": ["train", "val"]}, "row 2, field _id: the id is listed more than once"),
        ({"_id": [1, 2, 2, 1], "split": ["train"] * 4}, "row 3, field _id: the id is listed more than once"),
        ({"_id": [1.0, 1.5], "split": ["train"] * 2}, "row 2, field _id: not an admission id"),
        ({"_id": [[1]], "split": ["train"]}, "field _id: neither texts nor numbers"),
        ({"_id": ["1-DS-2"], "split": ["train"]}, "row 1, field _id: not an admission id"),
        ({"_id": [1], "split": ["validation set"]}, "row 1, field split: unknown"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, frame: dict, message: str) -> None:
    file = tmp_path / "split.feather"
    pl.DataFrame(frame).write_ipc(file)
    with pytest.raises(UserError, match=message):
        read_split_table(file)
    file.write_bytes(b"not arrow")
    with pytest.raises(UserError, match="not a readable Feather"):
        read_split_table(file)
    with pytest.raises(UserError, match="split table is missing"):
        read_split_table(tmp_path / "nowhere.feather")


def test_every_published_set_can_be_asked_for() -> None:
    names = set()
    for (release, codes, labels, split), counts in PUBLISHED.items():
        where = {"ids": "ids:somewhere", "table": "table:file"}[split]
        assert Options(release, codes, labels, where).described()["split"] == split  # type: ignore[arg-type]
        names.add(counts.name)
    assert len(names) == 10
