"""What ``export`` hands out, used as a stranger uses it: in a process without SDL Study, or as a module."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.predictions import read_predictions
from sdl_study.record.finals import Final
from sdl_study.run import main

_ALONE = """
import runpy, sys
sys.modules["sdl_study"] = None  # importing it raises
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def exported(studies: Path, reference: str, folder: Path, *more: str) -> Path:
    """The folder that the command writes."""
    assert main(["export", reference, str(folder), "--out", str(studies), *more]) == 0
    return folder


def scorer(folder: Path) -> Any:
    """``Exported`` of the script in a folder, as a notebook beside it would have it."""
    spec = importlib.util.spec_from_file_location(f"predict_{folder.name}", folder / "predict.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Exported(folder)


def scored_alone(folder: Path, inputs: Path, *more: str) -> tuple[list[dict[str, Any]], Any]:
    """What the script prints and writes in a process that has no SDL Study and no network."""
    archive = folder.with_suffix(".npz")
    command = [
        sys.executable,
        "-c",
        _ALONE,
        str(folder / "predict.py"),
        str(inputs),
        "--npz",
        str(archive),
        *more,
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()], np.load(archive)


def file_of_texts(data: PreparedData, file: Path) -> Path:
    """The test inputs as a file of texts."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["note"])
        writer.writerows([text] for text in data.texts(data.rows("test")))
    return file


def check_scores(final: Final, scores: np.ndarray, within: float = 2e-5) -> None:
    """Scores of the test inputs are those of predictions.parquet."""
    expected = read_predictions(final.predictions)
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=within)
