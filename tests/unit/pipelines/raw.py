"""Small files in MIMIC's and COCO's layout, made by hand for the tests."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from sdl_study.data.prepared import PreparedData

NOTE_III = [
    *("ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "STORETIME", "CATEGORY", "DESCRIPTION"),
    *("CGID", "ISERROR", "TEXT"),
]
CODE_III = ["ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"]
NOTE_IV = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text"]
CODE_IV = ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"]
PROCEDURE_IV = ["subject_id", "hadm_id", "seq_num", "chartdate", "icd_code", "icd_version"]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """A CSV file, packed when its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    content = buffer.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def note_iii(row: int, subject: int, hadm: str, text: str, **other: str) -> list[Any]:
    """A row of NOTEEVENTS; a discharge summary unless `category` says otherwise."""
    fields = {"CHARTDATE": "2150-01-02", "CATEGORY": "Discharge summary", "DESCRIPTION": "Report"}
    fields |= {key.upper(): value for key, value in other.items()}
    known = {"ROW_ID": row, "SUBJECT_ID": subject, "HADM_ID": hadm, "TEXT": text}
    return [{**fields, **known}.get(name, "") for name in NOTE_III]


def write_iii(
    folder: Path,
    notes: Sequence[Sequence[Any]],
    diagnoses: Sequence[tuple[int, str]],
    procedures: Sequence[tuple[int, str]] = (),
    ending: str = ".csv",
    upper: bool = True,
) -> Path:
    """MIMIC-III's three tables; codes as (admission, undotted code)."""

    def name(stem: str) -> Path:
        return folder / ((stem if upper else stem.lower()) + ending)

    write_csv(name("NOTEEVENTS"), NOTE_III, notes)
    for stem, codes in (("DIAGNOSES_ICD", diagnoses), ("PROCEDURES_ICD", procedures)):
        rows = [(i, 1, hadm, i, code) for i, (hadm, code) in enumerate(codes)]
        write_csv(name(stem), CODE_III, rows)
    return folder


def write_iv(
    folder: Path,
    notes: Sequence[tuple[int, int, str]],
    diagnoses: Sequence[tuple[int, str, int]],
    procedures: Sequence[tuple[int, str, int]] = (),
    ending: str = ".csv.gz",
) -> Path:
    """MIMIC-IV's tables; notes as (patient, admission, text), codes as (admission, code, version)."""
    rows = [
        (f"{subject}-DS-{i}", subject, hadm, "DS", i, "2150-01-02 00:00:00", "", text)
        for i, (subject, hadm, text) in enumerate(notes)
    ]
    write_csv(folder / "note" / f"discharge{ending}", NOTE_IV, rows)
    write_csv(folder / "hosp" / f"diagnoses_icd{ending}", CODE_IV, [(1, h, 1, c, v) for h, c, v in diagnoses])
    day = "2150-01-01"
    write_csv(
        folder / "hosp" / f"procedures_icd{ending}",
        PROCEDURE_IV,
        [(1, h, 1, day, c, v) for h, c, v in procedures],
    )
    return folder


def write_ids(folder: Path, kind: str, train: Sequence[int], dev: Sequence[int], test: Sequence[int]) -> str:
    """Published id lists; returns the value of --split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, ids in (("train", train), ("dev", dev), ("test", test)):
        (folder / f"{split}_{kind}_hadm_ids.csv").write_text("".join(f"{i}\n" for i in ids))
    return f"ids:{folder}"


def write_coco(
    folder: Path,
    images: Sequence[tuple[int, str]],
    annotations: Sequence[tuple[int, int]],
    categories: Sequence[tuple[int, str]] = ((1, "person"), (3, "car"), (90, "toothbrush")),
    crowd: bool = False,
) -> tuple[Path, Path]:
    """Images 8 by 6 pixels and an instances file; annotations as (image, category)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in images:
        Image.new("RGB", (8, 6), (number % 256, 40, 200)).save(folder / name)
    record = {
        "images": [{"id": number, "file_name": name, "height": 6, "width": 8} for number, name in images],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "iscrowd": int(crowd)}
            for i, (image, category) in enumerate(annotations)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(record))
    return folder, file


def documents(out: Path) -> dict[str, tuple[str, set[str], str]]:
    """Source id → (split, codes, text) of everything in a prepared data set, test labels included."""
    prepared = PreparedData.load(out)
    codes = prepared.label_codes
    examples = pl.read_parquet(out / "examples.parquet")
    test = {i: labels for i, labels in pl.read_parquet(out / "test_labels.parquet").iter_rows()}  # noqa: C416
    names = dict(pl.read_parquet(out / "id_map.parquet").select("id", "source_id").iter_rows())
    found = {}
    for row in examples.iter_rows(named=True):
        labels = test[row["id"]] if row["split"] == "test" else row["labels"]
        found[names[row["id"]]] = (
            row["split"],
            {codes[i] for i in labels},
            row.get("text", row.get("image")),
        )
    return found
