"""Tables that played no part in making the defaults: ``python -m tests.benchmarks.unseen FOLDER``.

FOLDER holds ``Music.arff`` (592 songs, 71 features, 6 emotions) and ``Scene.arff.bz2`` (2,407 photographs, 294
features, 6 scenes) of MEKA (github.com/Waikato/meka, ``src/main/data``). Each becomes a table, is split by
``pipelines.table`` and goes through the study ``features`` as it is; its answer is printed, with the control ``raw``, a
logistic regression on the same features.
"""

from __future__ import annotations

import argparse
import bz2
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from pipelines import table
from sdl_study.own_modules import load_study
from sdl_study.report.text import answer_text
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute

TABLES = {"music": ("Music.arff", 6), "scene": ("Scene.arff.bz2", 6)}
"""File, and how many labels its first columns are."""


def read_arff(file: Path) -> tuple[list[str], np.ndarray]:
    """Names and numbers of an ARFF file whose rows are written out, or in braces as pairs of column and value."""
    text = (bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()).decode(
        "latin-1"
    )
    lines = [line.strip() for line in text.splitlines()]
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


def prepare(source: Path, labels: int, out: Path) -> Path:
    """The first columns are labels, the others features; ids are places."""
    names, values = read_arff(source)
    sets = [[names[i] for i in np.flatnonzero(row > 0)] for row in values[:, :labels]]
    features = {f"f{i}": values[:, labels + i] for i in range(values.shape[1] - labels)}
    made = out.with_suffix(".parquet")
    pl.DataFrame({**features, "labels": sets, "id": [f"r{i}" for i in range(len(values))]}).write_parquet(
        made
    )
    table.prepare(made, out, table.Columns(labels="labels", features="f[0-9]*", id="id"), terms="open")
    return out


def main() -> None:
    """Prepare, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with the two files")
    parser.add_argument("--only", choices=sorted(TABLES), help="one of them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        out = Path(made).resolve()
        for name, (file, labels) in TABLES.items():
            if given.only not in (None, name):
                continue
            data = prepare(given.folder / file, labels, out / f"{name}_data")
            started = time.monotonic()
            plan = make_plan(load_study("features").study, out, name, {"data.path": str(data)})
            for answer in execute([plan], None, None):
                print(f"\n{answer_text(answer)}\n")
            print(f"{name}: {(time.monotonic() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
