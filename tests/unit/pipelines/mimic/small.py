"""Small cases of MIMIC, and a run over them that says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.mimic import Options, prepare
from sdl_study.data.prepared import Manifest
from tests.unit.pipelines.raw import note_iii, write_ids, write_iii

IDS = (101, 102, 103)


def quiet(line: str) -> None:
    """No progress in tests."""


def run(source: Path, out: Path, **options: Any) -> Manifest:
    defaults: dict[str, Any] = {"release": "mimic-iii", "codes": "icd9", "labels": "full"}
    return prepare(source, out, Options(**{**defaults, **options}), progress=quiet)


def three_notes(tmp: Path, diagnoses: list[tuple[int, str]], procedures: Any = (), **other: Any) -> Path:
    notes = [note_iii(i, hadm, str(hadm), f"text {hadm}") for i, hadm in enumerate(IDS)]
    return write_iii(tmp / "raw", notes, diagnoses, procedures, **other)


def ids(tmp: Path, kind: str = "full") -> str:
    return write_ids(tmp / "ids", kind, [101], [102], [103])
