"""What the training loop costs beside the training: our epochs and a bare PyTorch loop of the same model, in turn.

``python -m tests.benchmarks.loop`` prints a table: milliseconds a step of both, and how much more ours takes. Both do
the same updates on the same batches; ours also samples, reads ahead, watches for collapse and looks at the clock for
checkpoints. Wall time on a busy machine is noise, processor time of the process less so; epochs are measured in turn
and the medians compared. The aim is at most 3% where a step takes 50 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import nn

from sdl_study.arms import Arm
from sdl_study.config import DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.ending import main_of
from sdl_study.training.course import pretraining
from sdl_study.training.inputs import Inputs, open_inputs
from sdl_study.training.model import PretrainingModel, build_loss, build_model
from sdl_study.training.optimizer import build_optimizer, warmup_then_cosine
from sdl_study.training.trainer import Trainer
from sdl_study.workers.job import Job
from tests.unit.study.fakes import arms_named

LABELS, WORDS, TOKENS, BATCH = 20, 2_000, 48, 64
SIZES = {
    "small": {"kind": "conv", "width": 64, "kernel": 5},
    "medium": {"kind": "bert", "width": 64, "heads": 4, "layers": 1},
    "large": {"kind": "bert", "width": 128, "heads": 4, "layers": 3},
}
CPU = torch.device("cpu")


def write_texts(out: Path, rows: int) -> None:
    """Texts of as many words, with labels at random."""
    rng = np.random.default_rng(0)
    splits = ["train"] * rows + ["dev"] * 64 + ["test"] * 64
    index = pl.DataFrame(
        {
            "source_id": [f"id{i}" for i in range(len(splits))],
            "source_group": [f"group{i}" for i in range(len(splits))],
            "split": splits,
            "labels": [sorted(rng.choice(LABELS, 3, replace=False).tolist()) for _ in splits],
        }
    )
    texts = [" ".join(f"w{word}" for word in rng.integers(0, WORDS, TOKENS)) for _ in splits]
    codes = [f"L{label}" for label in range(LABELS)]
    made = Preparation("loop", "text", "open", index, codes, codes, "at random", {"pipeline": "benchmark"})
    write_prepared(out, made, [pl.DataFrame({"text": texts})])


def settings_of(encoder: dict[str, object], epochs: int) -> Settings:
    """A contrastive training of one encoder."""
    return Settings(
        data=DataSettings(name="loop", path="unused", store={"max_length": TOKENS}),
        model=ModelSettings(encoder="one", encoders={"one": encoder}),
        train=TrainSettings(epochs=epochs, batch_size=BATCH),
    )


def bare_epoch(
    model: PretrainingModel,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    inputs: Inputs,
    order: np.ndarray,
) -> None:
    """What everybody would write."""
    model.train()
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        outputs, _ = model(inputs.store.fetch(inputs.train_rows[places]))
        value = loss(outputs, inputs.train_labels[places])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()


def timed(epoch: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    epoch()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(folder: Path, encoder: dict[str, object], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds a step, wall and processor, of both loops."""
    settings = settings_of(encoder, rounds + 1)
    inputs = open_inputs(folder / "data", folder / "stores", settings)
    arm = arms_named("sd")[0].to_dict()
    job = Job("loop", "trial", str(folder / "job"), "", "", {}, arm, seed=0)

    def fresh() -> PretrainingModel:
        return build_model(Arm(**arm), 0, settings, inputs.spec, LABELS)

    trained = pretraining(Arm(**arm), 0, settings, inputs, CPU)
    trainer, model = Trainer(job, settings, inputs, fresh(), trained, CPU, None), fresh()
    steps = trainer.sampler.steps_per_epoch
    optimizer, loss = build_optimizer(model, settings.train), build_loss(Arm(**arm), settings)
    schedule = warmup_then_cosine(optimizer, (rounds + 1) * steps, settings.train.warmup_fraction)
    rng = np.random.default_rng(0)

    def bare() -> None:
        bare_epoch(model, loss, optimizer, schedule, inputs, rng.permutation(len(inputs.train_rows)))

    found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for number in range(1, rounds + 2):
        ours = timed(lambda number=number: trainer._epoch(number, time.monotonic()))
        plain = timed(bare)
        if number > 1:  # the first one warms up
            found["ours"].append(ours)
            found["bare"].append(plain)
    return {
        name: (
            1e3 * statistics.median(wall for wall, _ in times) / steps,
            1e3 * statistics.median(processor for _, processor in times) / steps,
        )
        for name, times in found.items()
    }


def _command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each loop")
    parser.add_argument("--steps", type=int, default=20, help="steps an epoch")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| encoder | ms a step, bare: wall | processor | ours: wall | processor | more: wall | processor |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_texts(Path(folder) / "data", given.steps * BATCH)
        for name, encoder in SIZES.items():
            found = measure(Path(folder), encoder, given.rounds)
            (bare, bare_cpu), (ours, ours_cpu) = found["bare"], found["ours"]
            print(
                f"| {name} | {bare:.1f} | {bare_cpu:.1f} | {ours:.1f} | {ours_cpu:.1f} "
                f"| {ours / bare - 1:+.1%} | {ours_cpu / bare_cpu - 1:+.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main_of(_command))
