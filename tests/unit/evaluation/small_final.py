"""A small prepared data set, and a final of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.evaluation.final import score_final
from sdl_study.evaluation.predictions import FinalIdentity

FINAL = FinalIdentity("demo", "sd", "probe", 0)
TEST = np.arange(1, 24, 3)
TRUTH = [[0, 2], [], [1], [2], [0], [0, 1, 2], [1], [3]]


def prepare(folder: Path) -> Path:
    """A prepared data set of 24 examples, 8 of them in test."""
    splits = ["train", "test", "dev"] * 8
    labels = [TRUTH[row // 3] if split == "test" else [row % 4] for row, split in enumerate(splits)]
    index = pl.DataFrame(
        {
            "source_id": [f"s{row}" for row in range(24)],
            "source_group": [f"g{row // 2}" for row in range(24)],
            "split": splits,
            "labels": labels,
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    write_prepared(
        folder,
        Preparation(
            name="small", modality="features", terms="open", index=index, label_codes=list("abcd"),
            label_names=list("ABCD"), split_origin="made by hand", source={},
            features=np.zeros((24, 2), dtype=np.float32),
        ),
    )  # fmt: skip
    return folder


def scores() -> np.ndarray:
    """Of the test inputs."""
    return np.random.default_rng(0).random((TEST.size, 4)).astype(np.float32)


def write_scores(path: Path, rows: Any = TEST, values: Any = None) -> Path:
    """A file of scores."""
    np.savez(path, rows=rows, scores=scores() if values is None else values)
    return path


def score(prepared: Path, folder: Path, **changes: Any) -> dict[str, float]:
    """Score the final into ``folder/out``, from scores in ``folder``."""
    arguments: dict[str, Any] = {
        "scores_path": folder / "scores.npz",
        "final": FINAL,
        "declaration_sha": "d" * 64,
        "code_version": "1",
        "threshold": 0.4,
        "out_dir": folder / "out",
    } | changes
    if not (folder / "scores.npz").exists():
        write_scores(folder / "scores.npz")
    return score_final(prepared, **arguments)


def truth() -> np.ndarray:
    """Labels of the test inputs, multi-hot."""
    matrix = np.zeros((TEST.size, 4), dtype=bool)
    for row, labels in enumerate(TRUTH):
        matrix[row, labels] = True
    return matrix
