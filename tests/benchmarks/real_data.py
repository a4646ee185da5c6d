"""Studies on real data: ``python -m tests.benchmarks.real_data FOLDER [--only yeast] [--arms bce,any] [--full]``.

FOLDER holds ``hoc/hoc.jsonl.gz`` (Hallmarks of Cancer: 1,852 PubMed abstracts, per line pmid, sentences and labels),
``coco128/`` (128 + 128 MS-COCO photographs with instances_*.json) and ``yeast/yeast.parquet`` (2,417 genes, Mulan's
collection). All are prepared as a user would, the study of their kind of data runs on each (``text`` and ``images``
with three of their six arms), and its test results (means over the final seeds) are printed beside floors that were
measured on the same splits with frozen encoders, bags of words and logistic regression, with the time it took. On two
cores a training on HoC takes minutes, so that its study has two trials and one final an arm there, in half precision;
``--full``, for a large GPU, leaves it as it is and lets six trials share the GPU.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pipelines import coco, table
from sdl_study.data.prepared import PreparedData
from sdl_study.ending import main_of
from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.predictions import read_predictions
from sdl_study.own_modules import load_study
from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import read_finals
from sdl_study.report.tables import text_table
from sdl_study.report.text import answer_text
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute

OVER_LABELS = {"objective": "dev/map", "primary_metric": "test/map"}  # as the floors are
THREE_ARMS = {"arms": ("bce", "any", "sd")}  # of the six: two cores, and an hour and a half a data set
# Measured on these splits: HoC with its first-level labels, coco128 on its 33 labels with 3 images on either side.
FLOORS = {
    "hoc": (
        ("TF-IDF + logistic regression (floor)", 0.731, 0.801),
        ("frozen MiniLM + logistic regression (floor)", 0.665, 0.731),
    ),
    "coco128": (("frozen EfficientNet-Lite0 + logistic regression (floor)", 0.560, 0.561),),
    "yeast": (
        ("logistic regression (floor)", 0.654, 0.465),
        ("ML-kNN, all of train (floor; area under precision and recall)", 0.661, 0.457),
    ),
}
LEAST_IMAGES = 3
# An hour and a half on two cores: nine trainings on HoC.
BRIEF = {
    "hoc": {
        "budget.trials": 2,
        "budget.selection_seeds": 0,
        "budget.final_seeds": 1,
        "train.precision": "bf16",
    }
}
FULL = {"train.trials_per_gpu": 6}


def split_of(pmid: str) -> str:
    """The floors' split: 1291 / 186 / 375 abstracts."""
    place = int(hashlib.sha1(pmid.encode()).hexdigest()[:8], 16) % 100
    return "train" if place < 70 else "dev" if place < 80 else "test"


def prepare_hoc(source: Path, folder: Path) -> Path:
    """Abstracts as a table, then through ``pipelines.table``."""
    rows = folder / "hoc.jsonl"
    with gzip.open(source, "rt", encoding="utf-8") as lines, rows.open("w", encoding="utf-8") as out:
        for line in lines:
            record = json.loads(line)
            labels = sorted({label.split("--")[0] for sentence in record["labels"] for label in sentence})
            row = {
                "pmid": record["pmid"],
                "text": " ".join(record["sentences"]),
                "labels": labels,
                "split": split_of(record["pmid"]),
            }
            out.write(json.dumps(row) + "\n")
    columns = table.Columns(labels="labels", text="text", split="split", id="pmid")
    table.prepare(rows, folder / "hoc", columns, terms="open")
    return folder / "hoc"


def prepare_coco(source: Path, folder: Path) -> Path:
    """Photographs through ``pipelines.coco``."""
    annotations = source / "annotations"
    coco.prepare(
        folder / "coco128",
        (source / "train2017", annotations / "instances_train2017.json"),
        (source / "val2017", annotations / "instances_val2017.json"),
    )
    return folder / "coco128"


def prepare_yeast(source: Path, folder: Path) -> Path:
    """Features through ``pipelines.table``."""
    columns = table.Columns(labels="labels", features="f[0-9]*", split="split", id="id")
    table.prepare(source, folder / "yeast", columns, terms="open")
    return folder / "yeast"


def kept_labels(name: str, data: PreparedData, tested: np.ndarray) -> np.ndarray:
    """The labels that the floors count: on coco128 those with three photographs to learn from and three to test with.

    Args:
        tested: [n, labels], of the test split.
    """
    if name != "coco128":
        return np.arange(data.manifest.num_labels)
    counts = data.labels("train").counts() + data.labels("dev").counts()
    return np.flatnonzero((counts >= LEAST_IMAGES) & (tested.sum(axis=0) >= LEAST_IMAGES))


def results(name: str, files: StudyFiles, data: PreparedData) -> list[dict[str, Any]]:
    """Rows of the table: the study's arms and controls, mean over their seeds, then the floors."""
    values: dict[str, list[tuple[float, float]]] = {}
    declaration = read_declaration(files)
    assert declaration is not None
    for final in read_finals(files, declaration):
        found = read_predictions(final.predictions)
        labels = np.zeros(found.scores.shape, dtype=bool)
        labels[found.targets.rows, found.targets.columns] = True
        kept = kept_labels(name, data, labels)
        metrics = multilabel_metrics(found.scores[:, kept], labels[:, kept], threshold=found.threshold)
        values.setdefault(final.name, []).append((metrics["micro_f1"], metrics["map"]))
    means = [(what, fmean(f1 for f1, _ in of), fmean(ap for _, ap in of)) for what, of in values.items()]
    return [
        {"data": name, "what": what, "micro-F1": f1, "mAP": ap} for what, f1, ap in (*means, *FLOORS[name])
    ]


# How a data set is prepared, from what, and the study that runs on it with its settings.
STUDIES: dict[str, tuple[Callable[[Path, Path], Path], str, str, dict[str, Any]]] = {
    "hoc": (prepare_hoc, "hoc/hoc.jsonl.gz", "text", THREE_ARMS | OVER_LABELS),
    "coco128": (prepare_coco, "coco128", "images", THREE_ARMS),
    "yeast": (prepare_yeast, "yeast/yeast.parquet", "features", {}),
}


def main() -> None:
    """Prepare, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with hoc/, coco128/ and yeast/")
    parser.add_argument("--only", choices=sorted(FLOORS), help="one of the data sets")
    parser.add_argument(
        "--full", action="store_true", help="no study is made shorter: for a GPU, which trials share"
    )
    parser.add_argument("--arms", type=lambda text: tuple(text.split(",")), help="these alone: bce,any")
    given = parser.parse_args()
    brief = dict.fromkeys(STUDIES, FULL) if given.full else BRIEF
    arms = {"arms": given.arms} if given.arms else {}
    with tempfile.TemporaryDirectory() as made:
        out = Path(made).resolve()
        prepared = {
            name: prepare(given.folder.resolve() / origin, out)
            for name, (prepare, origin, _, _) in STUDIES.items()
            if given.only in (None, name)
        }
        plans = [
            make_plan(
                load_study(STUDIES[name][2]).study,
                out,
                name,
                STUDIES[name][3] | brief.get(name, {}) | arms | {"data.path": str(path)},
            )
            for name, path in prepared.items()
        ]
        rows: list[dict[str, Any]] = []
        started = time.monotonic()
        for answer in execute(plans, None, None):
            print(f"\n{answer_text(answer)}\n")
            rows += results(
                answer.study, StudyFiles(out, answer.study), PreparedData.load(prepared[answer.study])
            )
        minutes = (time.monotonic() - started) / 60
    print(text_table(rows, {"data": "", "what": "", "micro-F1": ".3f", "mAP": ".3f"}))
    print(f"{', '.join(prepared)}: {minutes:.0f} minutes")


if __name__ == "__main__":
    sys.exit(main_of(main))
