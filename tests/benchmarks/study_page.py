"""Time and size of a study page of 1,000 trials and 8,921 labels: ``python -m tests.benchmarks.study_page FOLDER``.

The journal is not played, which takes an hour: trials are drawn. Everything else is as a study leaves it: six finals of
1,000 documents, whose details the first page computes and the second reads.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from sdl_study.record import reading
from sdl_study.record.trials import TrialRecord
from sdl_study.report.study_page import page_of
from tests.unit.report.studies import answered, prepared, searched

TRIALS, LABELS, DOCUMENTS, EPOCHS = 1000, 8921, 1000, 10
LABELS_OF_A_DOCUMENT = 16  # of MIMIC
MOST_SECONDS, MOST_BYTES = 30.0, 12_000_000


def drawn_trial(number: int, rng: np.random.Generator) -> TrialRecord:
    """A trial of one of two arms, a third of them pruned halfway."""
    temperature = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    parameters = {
        "model.encoder": str(rng.choice(["conv", "bert"])),
        "train.learning_rate": float(10 ** rng.uniform(-4, -1)),
        "loss.temperature": temperature,
    }
    epochs = range(1, 1 + (EPOCHS if number % 3 else EPOCHS // 2))
    values = 0.5 + 0.1 * (1 - 0.5 ** np.array(epochs)) - 0.02 * np.log(temperature / 0.1) ** 2
    values = values + rng.normal(scale=0.005, size=values.size)
    best = np.maximum.accumulate(values)
    return TrialRecord(
        number, ("any", "sd")[number % 2], number // 2, "complete" if number % 3 else "pruned", parameters, "tpe",
        {e: {"dev/map": float(v), "train/loss": 1.0, "seconds": 1.0} for e, v in zip(epochs, values, strict=True)},
        {e: float(v) for e, v in zip(epochs, best, strict=True)}, None, 1,
    )  # fmt: skip


def main(out: Path) -> int:
    """Build the page twice; 1 where it took too long or is too large."""
    rng = np.random.default_rng(0)
    plan = searched(out, trials=2, epochs=EPOCHS)
    prepared(plan, labels=np.floor(rng.pareto(0.7, LABELS) * 5).astype(int).tolist(), documents=DOCUMENTS)
    answered(
        plan, lambda arm, seed: (4.0 if arm == "sd" else 2.0) + 0.05 * seed, documents=DOCUMENTS, width=LABELS,
        share=LABELS_OF_A_DOCUMENT / LABELS, threshold=0.95,
    )  # fmt: skip
    read = reading.read_study(plan.files)
    trials = [drawn_trial(number, rng) for number in range(TRIALS)]
    record = reading.StudyRecord(
        read.files,
        read.identity,
        trials,
        read.declaration,
        read.answer,
        read.finals,
        read.dataset,
        read.environments,
    )
    failed = 0
    for what in ("first page, with the details of the finals", "again"):
        began, worked = time.perf_counter(), time.process_time()
        size = len(page_of(record).encode())
        seconds = time.perf_counter() - began
        print(f"{what}: {seconds:.1f} s ({time.process_time() - worked:.1f} s of a CPU), {size / 1e6:.1f} MB")
        failed |= seconds > MOST_SECONDS or size > MOST_BYTES
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
