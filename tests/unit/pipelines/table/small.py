"""Tables of three rows, one a split, and runs over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.table import Columns, prepare
from sdl_study.data.prepared import Manifest
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import documents

SPLITS = ("train", "dev", "test")
HEAD = "id,body,tags,fold\n"
GOOD = {str(i + 1): (split, {"a"}, f"text {i}") for i, split in enumerate(SPLITS)}


def run(file: Path, out: Path, **columns: Any) -> Manifest:
    given = {"labels": "tags", "split": "fold", **columns}
    if not {"features", "image"} & set(given):
        given["text"] = given.get("text", "body")
    return prepare(file, out, Columns(**given), progress=lambda line: None)


def found(file: Path, **columns: Any) -> dict[str, tuple[str, set[str], str]]:
    out = file.parent / "out"
    run(file, out, **columns)
    return documents(out)


def refused(file: Path, **columns: Any) -> str:
    with pytest.raises(UserError) as caught:
        run(file, file.parent / "out", **columns)
    assert not (file.parent / "out").exists()
    assert "\n" not in str(caught.value)
    assert "marker" not in str(caught.value)
    return str(caught.value).removeprefix(str(file))


def jsonl(folder: Path, **columns: Any) -> Path:
    file = folder / "t.jsonl"
    rows = [
        {"body": f"text {i}", "tags": ["a"], "fold": split} | {name: values[i] for name, values in columns.items()}
        for i, split in enumerate(SPLITS)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def parquet(folder: Path, **columns: Any) -> Path:
    file = folder / "t.parquet"
    good = {"body": [f"text {i}" for i in range(3)], "tags": [["a"]] * 3, "fold": list(SPLITS)}
    pl.DataFrame({**good, **columns}).write_parquet(file)
    return file


def text_file(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file
