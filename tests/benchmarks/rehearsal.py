"""The last stage and the stores at the field's size: seconds, rates and memory.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.rehearsal [--only epoch] [--scale 0.1] [--max-rows 10000]

``probe``: MIMIC-III-full's rows (47,723 for training, 1,631 for dev, 3,372 for test) of 768 numbers and 8,921 labels,
generated. An epoch's probe (a trial's, on ``--max-rows`` of train), a final's on all rows, the dev metrics, and the
predictions and metrics of a final, first in one process and then in two (gloo, a thread each), and what eight GPUs
would take, estimated from the operations that were counted. ``epoch``: the same without a final's probe, minutes
instead of an hour. ``tokens`` and ``images``: see ``rehearsal_stores``. ``--scale`` shrinks rows and labels alike. Exit
code 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.config import ProbeSettings
from sdl_study.evaluation import multilabel_metrics, tune_threshold
from sdl_study.evaluation.objective import dev_metrics
from sdl_study.evaluation.scores import save_scores
from sdl_study.losses import LabelSets
from sdl_study.report.tables import text_table
from sdl_study.testing import run_processes
from sdl_study.training.stages.logistic import Problem
from sdl_study.training.stages.probe import fit_probe
from sdl_study.training.stages.probe_rows import probe_rows

ROWS = {"train": 47_723, "dev": 1_631, "test": 3_372}
WIDTH, LABELS, BLOCK_ELEMENTS = 768, 8_921, 1 << 24
INFORMATIVE = 32
# A half of an H100's 67 TFLOP/s in float32 (its data sheet).
GPU_FLOPS, GPUS = 33e12, 8
MOST_SHARE, MOST_GIGABYTES = 0.5, 12.0


def generated(scale: float) -> tuple[dict[str, torch.Tensor], dict[str, LabelSets]]:
    """Embeddings whose axes fall off, and labels that depend on some of them, as frequent as ICD codes."""
    generator = torch.Generator().manual_seed(0)
    labels = round(LABELS * scale)
    frequency = torch.clamp(2.3 / torch.arange(1, labels + 1) ** 0.95, max=0.4)
    weights = torch.randn(INFORMATIVE, labels, generator=generator)
    embeddings, sets = {}, {}
    for split, rows in ROWS.items():
        made = torch.randn(round(rows * scale), WIDTH, generator=generator)
        parts = []
        for part in made.split(2_000):
            chance = torch.sigmoid(part[:, :INFORMATIVE] @ weights / 4 + torch.logit(frequency) - 1)
            parts.append(LabelSets.from_multi_hot(chance > torch.rand(chance.shape, generator=generator)))
        sets[split] = joined(parts)
        embeddings[split] = made * torch.logspace(0, -1, WIDTH)
    return embeddings, sets


def joined(parts: list[LabelSets]) -> LabelSets:
    """Label sets one after another."""
    sizes = np.concatenate([part.sizes for part in parts])
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return LabelSets(indptr, np.concatenate([part.indices for part in parts]), parts[0].num_labels)


class Stopwatch:
    """Seconds of named steps, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        """Call it and note what it took."""
        clock, processor = time.perf_counter(), time.process_time()
        value = call()
        self.seconds[name] = (time.perf_counter() - clock, time.process_time() - processor)
        return value


def counted_operations() -> list[int]:
    """From now on, the operations of the solver's products; one number, which grows."""
    operations, evaluate = [0], Problem.evaluate

    def counting(self: Problem, params: torch.Tensor) -> Any:
        operations[0] += 4 * self.rows * params.numel()
        return evaluate(self, params)

    Problem.evaluate = counting
    return operations


def last_stage(scale: float, max_rows: int, finals: bool) -> dict[str, Any]:
    """What one rank does after an epoch, and at the end of a final; metrics and files are rank 0's."""
    torch.set_num_threads(1)
    embeddings, sets = generated(scale)
    watch, operations = Stopwatch(), counted_operations()
    settings = ProbeSettings()

    def probe(rows: np.ndarray) -> Any:
        return fit_probe(
            embeddings["train"][rows],
            sets["train"][rows],
            l2_grid=settings.l2_grid,
            grow=settings.grow,
            scaling=settings.scaling,
            judge=(embeddings["dev"], sets["dev"]) if settings.chosen_on == "dev" else None,
            block_elements=max(1, round(BLOCK_ELEMENTS * scale**2)),
        )

    rows = [probe_rows(sets["train"], round(max_rows * scale), seed=0)]
    rows += [np.arange(len(sets["train"]))] if finals else []
    found: Any = None
    done: dict[str, Any] = {"operations": []}
    for some in rows:
        operations[0] = 0
        found = watch.time(f"probe of {len(some):,} rows", lambda some=some: probe(some))
        done["operations"].append(operations[0])
    if distributed.rank() == 0:
        watch.time("dev predictions and metrics", lambda: of_dev(found, embeddings["dev"], sets["dev"]))
        watch.time("test predictions and metrics", lambda: of_test(found, embeddings["test"], sets["test"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**done, "l2": found.l2, "scaling": found.scaling, "seconds": watch.seconds, "peak": peak}


def of_dev(probe: Any, embeddings: torch.Tensor, labels: LabelSets) -> None:
    """Scores, threshold and metrics of an epoch."""
    scores = probe.predict_proba(embeddings).numpy()
    threshold = tune_threshold(scores, labels)
    dev_metrics(scores, labels, threshold=threshold, objective="dev/map_document", min_positives=10)


def of_test(probe: Any, embeddings: torch.Tensor, labels: LabelSets) -> None:
    """Scores, their file and all metrics of a final."""
    scores = probe.predict_proba(embeddings).numpy()
    with tempfile.TemporaryDirectory() as folder:
        save_scores(Path(folder) / "scores.npz", np.arange(len(scores)), scores)
    multilabel_metrics(scores, labels, threshold=0.3)


def rehearse_probe(scale: float, max_rows: int, finals: bool, timeout: float) -> bool:
    """Print the table; whether the bounds hold."""
    worlds = {
        n: run_processes(last_stage, n, scale, max_rows, finals, timeout_seconds=timeout) for n in (1, 2)
    }
    first, rows = worlds[1][0], []
    for number, name in enumerate(worlds[1][0]["seconds"]):
        one, two = ([rank["seconds"].get(name, (0.0, 0.0)) for rank in worlds[n]] for n in (1, 2))
        row = {
            "step": name,
            "1 process": max(clock for clock, _ in one),
            "2 processes": max(clock for clock, _ in two),
            "processor, 1": max(used for _, used in one),
            "processor, busier of 2": max(used for _, used in two),
        }
        if number < len(first["operations"]):
            row[f"{GPUS} GPUs (E)"] = first["operations"][number] / (GPUS * GPU_FLOPS)
        rows.append(row)
    print(text_table(rows, {"step": "", **{column: ".2f" for column in rows[0] if column != "step"}}))
    peaks = {n: sum(rank["peak"] for rank in ranks) for n, ranks in worlds.items()}
    shares = [row["processor, busier of 2"] / row["processor, 1"] for row in rows]
    for whose, row, share, operations in zip(
        ("an epoch's", "a final's"), rows, shares, first["operations"], strict=False
    ):
        print(
            f"{whose} probe in two processes takes {share:.3f} of one process's processor time and "
            f"{row['2 processes'] / row['1 process']:.3f} of its time by the clock; {operations:.2e} operations"
        )
    print(f"bound for an epoch's {MOST_SHARE}; strength {first['l2']:g}, scaling {first['scaling']}")
    print(f"peak memory {peaks[1]:.1f} GiB in one, {peaks[2]:.1f} GiB in two (bound {MOST_GIGABYTES:.0f})")
    return shares[0] <= MOST_SHARE and max(peaks.values()) < MOST_GIGABYTES


def main() -> None:
    """Rehearse what was asked for."""
    from tests.benchmarks.rehearsal_stores import rehearse_images, rehearse_tokens

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=("epoch", "probe", "tokens", "images"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument(
        "--max-rows", type=int, default=10_000, help="probe.max_rows of a trial, at full size"
    )
    parser.add_argument(
        "--timeout", type=float, default=6 * 3600.0, help="seconds for each number of processes"
    )
    parser.add_argument("--folder", type=Path, help="where stores are built and removed; 14 GB at full size")
    given = parser.parse_args()
    print(f"scale {given.scale:g}", flush=True)
    held = True
    if given.only in (None, "epoch", "probe"):
        held = rehearse_probe(given.scale, given.max_rows, given.only != "epoch", given.timeout)
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        if given.only in (None, "tokens"):
            rehearse_tokens(Path(made), given.scale)
        if given.only in (None, "images"):
            rehearse_images(Path(made), given.scale)
    raise SystemExit(int(not held))


if __name__ == "__main__":
    main()
