"""Data that played no part in making the defaults: ``python -m tests.benchmarks.unseen FOLDER``.

FOLDER holds ``Music.arff`` (592 songs, 71 features, 6 emotions) and ``Scene.arff.bz2`` (2,407 photographs, 294
features, 6 scenes) of MEKA (github.com/Waikato/meka, ``src/main/data``), and ``new_amazon_val.json`` (5,879 different
product reviews, 428 labels; github.com/drndr/multilabel-text-clf, ``HiAGM/data``). Each becomes a table, which
``pipelines.table`` splits. The first two go through the study ``features`` as it is. Of the reviews ``bce`` alone
trains, on 64 tokens, one trial and one final of the study ``text``: with a head that starts at the labels' frequencies,
and with one whose biases are drawn. The answers are printed, with the controls: a logistic regression on the features
or on a bag of words.
"""

from __future__ import annotations

import argparse
import bz2
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines import table
from sdl_study.ending import main_of
from sdl_study.own_modules import load_study
from sdl_study.report.text import answer_text
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute

FEATURES = {"music": ("Music.arff", 6), "scene": ("Scene.arff.bz2", 6)}
"""File, and how many labels its first columns are."""
REVIEWS = "new_amazon_val.json"
BRIEF = {
    "arms": ("bce",),
    "budget.trials": 1,
    "budget.selection_seeds": 0,
    "budget.final_seeds": 1,
    "data.store.max_length": 64,
}


def read_arff(file: Path) -> tuple[list[str], np.ndarray]:
    """Names and numbers of an ARFF file whose rows are written out, or in braces as pairs of column and value."""
    content = bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()
    lines = [line.strip() for line in content.decode("latin-1").splitlines()]
    begin = next(i for i, line in enumerate(lines) if line.lower().startswith("@data"))
    names = [line.split()[1] for line in lines[:begin] if line.lower().startswith("@attribute")]
    rows = []
    for line in lines[begin + 1 :]:
        if not line or line.startswith("%"):
            continue
        if line.startswith("{"):
            row = np.zeros(len(names), np.float32)
            for pair in line.strip("{}").split(","):
                column, value = pair.split()
                row[int(column)] = float(value)
            rows.append(row)
        else:
            rows.append(np.array(line.split(","), np.float32))
    return names, np.stack(rows)


def prepare_features(source: Path, labels: int, out: Path) -> Path:
    """The first columns are labels, the others features; ids are places."""
    names, values = read_arff(source)
    sets = [[names[i] for i in np.flatnonzero(row > 0)] for row in values[:, :labels]]
    features = {f"f{i}": values[:, labels + i] for i in range(values.shape[1] - labels)}
    ids = [f"r{i}" for i in range(len(values))]
    made = out.with_suffix(".parquet")
    pl.DataFrame({**features, "labels": sets, "id": ids}).write_parquet(made)
    table.prepare(made, out, table.Columns(labels="labels", features="f[0-9]*", id="id"), terms="open")
    return out


def prepare_reviews(source: Path, out: Path) -> Path:
    """Words joined again, each text once; ids are places."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    frame = pl.DataFrame(
        {
            "text": [" ".join(row["token"]) for row in rows],
            "labels": [sorted(set(row["label"])) for row in rows],
            "id": [f"a{i}" for i in range(len(rows))],
        }
    )
    made = out.with_suffix(".parquet")
    frame.unique("text", maintain_order=True).write_parquet(made)
    table.prepare(made, out, table.Columns(labels="labels", text="text", id="id"), terms="open")
    return out


def run(study: str, name: str, data: Path, out: Path, settings: Mapping[str, Any]) -> None:
    """A study to its end; prints its answer."""
    started = time.monotonic()
    plan = make_plan(load_study(study).study, out, name, {"data.path": str(data), **settings})
    for answer in execute([plan], None, None):
        print(f"\n{answer_text(answer)}\n")
    print(f"{name}: {(time.monotonic() - started) / 60:.0f} minutes")


def main() -> None:
    """Prepare, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with the three files")
    parser.add_argument("--only", choices=[*FEATURES, "reviews"], help="one of them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        out = Path(made).resolve()
        for name, (file, labels) in FEATURES.items():
            if given.only in (None, name):
                data = prepare_features(given.folder / file, labels, out / f"{name}_data")
                run("features", name, data, out, {})
        if given.only in (None, "reviews"):
            data = prepare_reviews(given.folder / REVIEWS, out / "reviews_data")
            for start in ("prior", "random"):
                run("text", f"reviews_{start}", data, out, BRIEF | {"train.head_bias": start})


if __name__ == "__main__":
    sys.exit(main_of(main))
