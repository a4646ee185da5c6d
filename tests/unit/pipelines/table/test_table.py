"""Tables of the user's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipelines.table import Columns, command, prepare
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import documents, write_csv

ROWS = [
    ("a", "first text", "joy, love", "train"),
    ("b", 'with "quotes",\nand lines', "", "Training"),
    ("c", "third", "anger", "val"),
    ("d", "fourth", "love", "TEST"),
]


def run(file: Path, out: Path, terms: Any = "restricted", **columns: Any) -> Manifest:
    return prepare(
        file, out, Columns(**{"labels": "tags", **columns}), terms=terms, progress=lambda line: None
    )


def csv_table(folder: Path, name: str = "table.csv") -> Path:
    return write_csv(folder / name, ["key", "body", "tags", "fold"], ROWS)


def test_csv_with_own_splits(tmp_path: Path) -> None:
    manifest = run(csv_table(tmp_path), tmp_path / "out", text="body", split="fold", id="key")
    assert manifest.terms == "restricted"
    assert documents(tmp_path / "out") == {
        "a": ("train", {"joy", "love"}, "first text"),
        "b": ("train", set(), 'with "quotes",\nand lines'),
        "c": ("dev", {"anger"}, "third"),
        "d": ("test", {"love"}, "fourth"),
    }


def test_all_kinds_of_files_give_the_same_data_set(tmp_path: Path) -> None:
    fingerprints = {run(csv_table(tmp_path), tmp_path / "csv", text="body", split="fold").fingerprint}
    packed = csv_table(tmp_path, "table.csv.gz")
    fingerprints.add(run(packed, tmp_path / "packed", text="body", split="fold").fingerprint)
    frame = pl.DataFrame(ROWS, schema=["key", "body", "tags", "fold"], orient="row")
    frame.write_csv(tmp_path / "table.tsv", separator="\t")
    fingerprints.add(run(tmp_path / "table.tsv", tmp_path / "tsv", text="body", split="fold").fingerprint)
    frame.write_parquet(tmp_path / "table.parquet")
    fingerprints.add(run(tmp_path / "table.parquet", tmp_path / "pq", text="body", split="fold").fingerprint)
    records = [{**row, "tags": [t.strip() for t in row["tags"].split(",")]} for row in frame.to_dicts()]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "table.jsonl").write_text(lines)
    fingerprints.add(run(tmp_path / "table.jsonl", tmp_path / "jsonl", text="body", split="fold").fingerprint)
    with gzip.open(tmp_path / "table.jsonl.gz", "wt") as stream:
        stream.write(lines)
    fingerprints.add(run(tmp_path / "table.jsonl.gz", tmp_path / "gz", text="body", split="fold").fingerprint)
    assert len(fingerprints) == 1


def test_the_sentences_of_a_document_are_joined(tmp_path: Path) -> None:
    rows = [
        {"sentences": ["One.", None, "Two."], "labels": ["A--x", "B--y", None], "fold": "train"},
        {"sentences": ["Three."], "labels": [], "fold": "dev"},
        {"sentences": ["Four."], "labels": ["A--z"], "fold": "test"},
    ]
    file = tmp_path / "hoc.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(file, tmp_path / "out", text="sentences", labels="labels", split="fold", up_to="--")
    found = documents(tmp_path / "out")
    assert found["1"] == ("train", {"A", "B"}, "One. Two.")
    assert found["2"][1] == set()
    assert PreparedData.load(tmp_path / "out").label_codes == ["A", "B"]


def test_groups_never_stand_in_two_splits(tmp_path: Path) -> None:
    rows = [(i, f"text {i}", "x" if i % 2 else "y", f"author {i % 40}") for i in range(200)]
    file = write_csv(tmp_path / "t.csv", ["key", "body", "tags", "author"], rows)
    manifest = run(file, tmp_path / "out", text="body", group="author")
    assert set(manifest.leakage["groups_in_two_splits"].values()) == {0}
    assert sum(counts.groups for counts in manifest.counts.values()) == 40
    examples = pl.read_parquet(tmp_path / "out" / "examples.parquet")
    assert examples["group"].dtype == pl.Int64
    assert "author" not in (tmp_path / "out" / "examples.parquet").read_bytes().decode("latin-1")


def test_numeric_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 3)).round(3)
    rows = [(f"{a}", f"{b}", f"{c}", "up" if a > 0 else "down") for a, b, c in values]
    file = write_csv(tmp_path / "genes.csv", ["gene_1", "gene_2", "gene_3", "tags"], rows)
    manifest = run(file, tmp_path / "out", features="gene_*")
    prepared = PreparedData.load(tmp_path / "out")
    assert (manifest.modality, manifest.num_features) == ("features", 3)
    np.testing.assert_array_equal(prepared.features(), values.astype(np.float32))


def test_images_relative_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    rows = []
    for i, split in enumerate(("train", "dev", "test")):
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / "pictures" / f"{i}.png")
        rows.append((f"pictures/{i}.png", "cat dog" if i else "cat", split))
    file = write_csv(tmp_path / "t.csv", ["file", "tags", "fold"], rows)
    run(file, tmp_path / "out", image="file", split="fold", separator=" ", terms="open")
    prepared = PreparedData.load(tmp_path / "out")
    assert prepared.manifest.terms == "open"
    assert all(path.is_file() for path in prepared.image_files())
    assert prepared.label_codes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": "body", "image": "key"}, "exactly one of"),
        ({}, "exactly one of"),
        ({"text": "missing"}, "column 'missing' is missing; found key, body, tags, fold"),
        ({"features": "gene_*"}, "no column fits --features 'gene_\\*'"),
        ({"features": "bod?"}, "row 1, field body: not a number"),
        ({"text": "body", "split": "key"}, "row 1, field key: unknown split"),
        ({"text": "body", "id": "tags"}, "row 2, field tags: empty"),
        ({"text": "body", "separator": ""}, "separator is empty"),
        ({"text": "body", "up_to": ""}, "up-to is empty"),
    ],
)
def test_mistakes_name_file_row_and_field(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    file = csv_table(tmp_path)
    with pytest.raises(UserError, match=message):
        run(file, tmp_path / "out", **columns)
    assert not (tmp_path / "out").exists()


def test_labels_up_to_a_sign_from_the_command_line(tmp_path: Path) -> None:
    rows = [(f"text {i}", "A--x, B--y", split) for i, split in enumerate(("train", "dev", "test"))]
    file = write_csv(tmp_path / "t.csv", ["body", "tags", "fold"], rows)
    given = [str(file), str(tmp_path / "out"), "--text", "body", "--labels", "tags", "--split", "fold"]
    command([*given, "--up-to", " -- "])
    assert PreparedData.load(tmp_path / "out").label_codes == ["A", "B"]
    with pytest.raises(UserError, match="up-to is empty"):
        command([*given, "--up-to=--"])


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    file = write_csv(
        tmp_path / "t.csv", ["key", "body", "tags"], [("a", "x", "p"), ("b", "y", "p"), ("a", "z", "p")]
    )
    with pytest.raises(UserError, match="row 3, field key: duplicate id"):
        run(file, tmp_path / "out", text="body", id="key")
