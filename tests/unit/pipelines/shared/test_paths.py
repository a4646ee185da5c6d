"""Sources and outputs in folders whose names polars would read as patterns."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from pipelines import coco, mimic, table
from sdl_study.data.check import describe
from sdl_study.data.prepared import PreparedData
from tests.unit.pipelines.raw import documents, note_iii, write_coco, write_csv, write_iii

NAMES = ("notes[v1]", "notes*", "n{1}", "~", "note?", "5%", "a#b", "a b", "é")


def quiet(line: str) -> None:
    """No progress in tests."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths too: a leading tilde is a home only there."""
    monkeypatch.chdir(tmp_path)


def checked(out: Path) -> dict[str, tuple[str, set[str], str]]:
    assert "fingerprint" in describe(PreparedData.load(out), batch_size=8)
    shutil.copytree(out, "copy", dirs_exist_ok=True)  # the test's own reader takes patterns
    return documents(Path("copy"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_tables(ending: str) -> None:
    for name in NAMES:
        rows = [(f"{name} {i}", "a b", ("train", "dev", "test")[i % 3]) for i in range(6)]
        write_csv(Path(name) / "t.csv", ["body", "tags", "fold"], rows)
        file = Path(name) / f"t.{ending}"
        if ending != "csv":
            frame = pl.read_csv((Path(name) / "t.csv").read_bytes())
            with file.open("wb") as stream:
                if ending == "tsv":
                    frame.write_csv(stream, separator="\t")
                elif ending == "jsonl":
                    frame.write_ndjson(stream)
                else:
                    frame.write_parquet(stream)
    for name in NAMES:
        columns = table.Columns(labels="tags", text="body", split="fold", separator=" ")
        table.prepare(Path(name) / f"t.{ending}", Path(name) / "out", columns, progress=quiet)
        assert [text for _, _, text in checked(Path(name) / "out").values()] == [
            f"{name} {i}" for i in range(6)
        ]


def test_tables_of_images() -> None:
    for name in NAMES:
        Path(name).mkdir()
        for i in range(3):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(Path(name) / f"[{i}]*.png")
        rows = [(f"[{i}]*.png", "a", split) for i, split in enumerate(("train", "dev", "test"))]
        file = write_csv(Path(name) / "t.csv", ["file", "tags", "fold"], rows)
        columns = table.Columns(labels="tags", image="file", split="fold")
        table.prepare(file, Path(name) / "out", columns, progress=quiet)
        assert [path.name for path in PreparedData.load(Path(name) / "out").image_files()] == [
            r[0] for r in rows
        ]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_mimic(ending: str) -> None:
    for name in NAMES:
        notes = [note_iii(i, i, str(100 + i), f"{name} {i}") for i in range(40)]
        write_iii(Path(name) / "raw", notes, [(100 + i, "4019") for i in range(40)], ending=ending)
    for name in NAMES:
        options = mimic.Options("mimic-iii", "icd9", "full")
        mimic.prepare(Path(name) / "raw", Path(name) / "out", options, progress=quiet)
        assert {text for _, _, text in checked(Path(name) / "out").values()} == {
            f"{name} {i}" for i in range(40)
        }


def test_coco() -> None:
    for name in NAMES:
        images = [(i, f"{i:012d}.png") for i in range(1, 41)]
        train = write_coco(Path(name) / "train", images, [(i, 1) for i, _ in images])
        test = write_coco(Path(name) / "val", images[:3], [(i, 1) for i, _ in images[:3]])
        coco.prepare(Path(name) / "out", train, test, progress=quiet)
        assert len(checked(Path(name) / "out")) == 43
