"""Writing and opening prepared data sets."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sdl_study.data.prepared import Manifest, PreparedData, band_of
from sdl_study.data.writer import write_prepared
from sdl_study.errors import UserError
from tests.unit.data import small


def test_round_trip(tmp_path: Path) -> None:
    manifest = small.write_text(tmp_path / "out", chunk=7)
    prepared = PreparedData.load(tmp_path / "out")
    assert prepared.manifest == manifest
    index = small.index()
    for split in ("train", "dev", "test"):
        expected = np.flatnonzero((index["split"] == split).to_numpy())
        np.testing.assert_array_equal(prepared.rows(split), expected)
        np.testing.assert_array_equal(prepared.groups(split), expected // 2)
    for split in ("train", "dev"):
        rows = prepared.rows(split)
        assert [set(row) for row in prepared.labels(split)] == [set(index["labels"][int(i)]) for i in rows]
        assert prepared.texts(rows) == [small.texts()[i] for i in rows]
        assert [text for batch in prepared.iter_texts(7, split) for text in batch] == prepared.texts(rows)
    assert prepared.label_codes == small.CODES
    assert prepared.label_names == ["a", "b", "c", "d"]


def test_test_labels_are_out_of_reach(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    (tmp_path / "out" / "test_labels.parquet").unlink()
    prepared = PreparedData.load(tmp_path / "out")
    with pytest.raises(ValueError, match="final evaluation only"):
        prepared.labels("test")
    examples = pl.read_parquet(tmp_path / "out" / "examples.parquet")
    is_test = (examples["split"] == "test").to_list()
    assert examples["labels"].is_null().to_list() == is_test


def test_the_size_of_the_test_labels_is_looked_at_and_nothing_else(tmp_path: Path) -> None:
    size = small.write_text(tmp_path / "out").file_bytes["test_labels.parquet"]
    file = tmp_path / "out" / "test_labels.parquet"
    assert file.stat().st_size == size
    overwrite(file)
    PreparedData.load(tmp_path / "out").labels("train")
    change_manifest(tmp_path / "out", lambda record: record["file_bytes"].pop(file.name))
    file.write_bytes(b"")  # a data set of an earlier version says nothing of the size
    PreparedData.load(tmp_path / "out").labels("train")


def test_manifest_tells_counts_bands_and_test_aggregates(tmp_path: Path) -> None:
    manifest = small.write_text(tmp_path / "out")
    assert {s: (c.examples, c.groups) for s, c in manifest.counts.items()} == {
        "train": (36, 18),
        "dev": (12, 6),
        "test": (12, 6),
    }
    test = small.index().filter(pl.col("split") == "test")["labels"]
    assert manifest.counts["test"].mean_labels == round(float(test.list.len().mean()), 4)  # type: ignore[arg-type]
    table = PreparedData.load(tmp_path / "out").label_table
    train = small.index().filter(pl.col("split") == "train")["labels"].explode().drop_nulls().to_list()
    assert table["train_count"].to_list() == [train.count(i) for i in range(4)]
    assert table["band"].to_list() == ["medium", "medium", "medium", "tail"]
    assert [band_of(n) for n in (0, 9, 10, 99, 100)] == ["tail", "tail", "medium", "medium", "head"]


def test_source_ids_stand_in_the_private_map_alone(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    private = tmp_path / "out" / "id_map.parquet"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert pl.read_parquet(private)["source_id"].to_list() == small.index()["source_id"].to_list()
    others = [
        file
        for file in (tmp_path / "out").iterdir()
        if file not in (private, private.with_name("preparation.json"))
    ]
    assert len(others) == 4
    for file in others:
        shown = pl.read_parquet(file).write_json() if file.suffix == ".parquet" else file.read_text()
        assert "source 17" not in shown
        assert "group 8" not in shown


def test_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    def fingerprint(folder: str, /, **changes: Any) -> str:
        return small.write_text(tmp_path / folder, **changes).fingerprint

    first = fingerprint("a")
    assert fingerprint("deeper/b", chunk=11, name="other", terms="open", source={"x": 1}) == first
    other_text = [*small.texts()[:-1], "another text"]
    test_label = small.index().with_columns(
        pl.when(pl.col("source_id") == "source 59")
        .then(pl.lit([3]))
        .otherwise(pl.col("labels"))
        .alias("labels")
    )
    moved = small.index().with_columns(pl.col("split").replace({"dev": "train", "train": "dev"}))
    changed = {
        fingerprint("text", texts=other_text),
        fingerprint("test label", index=test_label),
        fingerprint("split", index=moved),
        fingerprint("code", label_codes=["A", "B", "C", "E"]),
    }
    assert len(changed | {first}) == 5


def test_fingerprint_is_this_on_every_machine(tmp_path: Path) -> None:
    expected = "a861039e121a1b8b9e232a602e1a3865cda9327860adee7ae56755a9e839dc2e"
    assert small.write_text(tmp_path / "out").fingerprint == expected


def test_leakage_counts_groups_and_inputs_in_two_splits(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(60)]
    texts[6] = texts[8] = texts[0]  # 0 train, 6 dev, 8 test
    broken = small.index().with_columns(
        pl.when(pl.col("source_id") == "source 7")
        .then(pl.lit("group 0"))
        .otherwise("source_group")
        .alias("source_group")
    )
    manifest = small.write_text(tmp_path / "out", texts=texts, index=broken)
    assert manifest.leakage == {
        "duplicate_inputs": {"train-dev": 1, "train-test": 1, "dev-test": 1},
        "groups_in_two_splits": {"train-dev": 1, "train-test": 0, "dev-test": 0},
    }


def test_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def inputs() -> Any:
        yield pl.DataFrame({"text": small.texts()[:10]})
        raise UserError("row 11: broken")

    with pytest.raises(UserError, match="row 11: broken"):
        write_prepared(tmp_path / "out", small.preparation(), inputs())
    with pytest.raises(UserError, match="10 inputs for an index of 60 rows"):
        write_prepared(tmp_path / "out", small.preparation(), [pl.DataFrame({"text": small.texts()[:10]})])
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_and_empty_split_are_refused(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        small.write_text(tmp_path / "out")
    only_train = small.index().with_columns(pl.lit("train").alias("split"))
    with pytest.raises(UserError, match="split 'dev' is empty"):
        small.write_text(tmp_path / "other", index=only_train)


def change_manifest(out: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = out / "manifest.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def lose_rows(out: Path) -> None:
    file = out / "examples.parquet"
    pl.read_parquet(file).head(5).write_parquet(file)
    change_manifest(out, lambda record: record["file_bytes"].update({file.name: file.stat().st_size}))


def overwrite(file: Path) -> None:
    file.write_bytes(b"x" * file.stat().st_size)


# What is done to the folder, and what is said.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (lambda out: out.rename(out.with_name("elsewhere")), "no prepared data set here"),
    "no manifest": (lambda out: (out / "manifest.json").unlink(), "manifest.json is missing"),
    "not json": (lambda out: (out / "manifest.json").write_text("{"), "not JSON"),
    "a list": (lambda out: (out / "manifest.json").write_text("[]"), "not a JSON object"),
    "not text": (lambda out: (out / "manifest.json").write_bytes(b"\xff\xfe"), "UTF-8"),
    "other version": (
        lambda out: change_manifest(out, lambda record: record.update(format_version=99)),
        "format_version is 99, this version reads 1",
    ),
    "field missing": (
        lambda out: change_manifest(out, lambda record: record.pop("terms")),
        "field 'terms' is missing",
    ),
    "counts broken": (
        lambda out: change_manifest(out, lambda record: record.update(counts={"train": 7})),
        "field 'counts'",
    ),
    "file missing": (lambda out: (out / "examples.parquet").unlink(), "examples.parquet: missing"),
    "cut off": (lambda out: os.truncate(out / "examples.parquet", 900), "bytes where the manifest has"),
    "test labels cut off": (
        lambda out: os.truncate(out / "test_labels.parquet", 90),
        "90 bytes where the manifest",
    ),
    "a folder of test labels": (
        lambda out: ((out / "test_labels.parquet").unlink(), (out / "test_labels.parquet").mkdir()),
        "test_labels.parquet: missing",
    ),
    "overwritten": (lambda out: overwrite(out / "examples.parquet"), "not readable as Parquet"),
    "rows lost": (lose_rows, "5 examples where the manifest has 60"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_missing_and_damaged_sets_are_one_line(tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    small.write_text(out)
    damage, said = DAMAGES[how]
    damage(out)
    with pytest.raises(UserError, match=said) as caught:
        PreparedData.load(out).rows("train")
    assert "\n" not in str(caught.value)
    assert str(out) in str(caught.value)


def test_manifest_survives_json(tmp_path: Path) -> None:
    manifest = small.write_text(tmp_path / "out")
    assert Manifest.from_json(manifest.to_json(), tmp_path) == manifest


def test_image_roots_inside_the_home_are_relative_and_others_absolute(tmp_path: Path) -> None:
    small.write_images(tmp_path / "home" / "prepared", tmp_path / "outside")
    roots = json.loads((tmp_path / "home" / "prepared" / "roots.json").read_text())
    assert roots == {"r": os.path.relpath(tmp_path / "outside", tmp_path / "home" / "prepared")}
    small.write_images(tmp_path / "a" / "b" / "c", tmp_path / "far")
    assert json.loads((tmp_path / "a" / "b" / "c" / "roots.json").read_text()) == {"r": str(tmp_path / "far")}


def test_labels_may_come_in_any_order_and_twice(tmp_path: Path) -> None:
    mixed = small.index().with_columns(
        pl.when(pl.col("source_id") == "source 1").then(pl.lit([2, 0, 2])).otherwise("labels").alias("labels")
    )
    small.write_text(tmp_path / "out", index=mixed)
    assert PreparedData.load(tmp_path / "out").labels("train").row(1).tolist() == [0, 2]


def test_labels_outside_the_list_are_damage(tmp_path: Path) -> None:
    small.write_text(tmp_path / "out")
    file = tmp_path / "out" / "examples.parquet"
    pl.read_parquet(file).with_columns(pl.col("labels") + 9).write_parquet(file)
    change_manifest(
        tmp_path / "out", lambda record: record["file_bytes"].update({file.name: file.stat().st_size})
    )
    with pytest.raises(UserError, match=r"examples\.parquet: damaged: labels: row \d+"):
        PreparedData.load(tmp_path / "out").labels("train")
