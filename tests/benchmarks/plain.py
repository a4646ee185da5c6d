"""Arm bce of a finished study beside a plain PyTorch training script: ``python -m tests.benchmarks.plain STUDY``.

The script has the encoder, the batch size, the steps, the rate and the schedule of the study's final, and nothing else
of the project's loop: torch's own AdamW over all parameters alike, its own binary cross-entropy, rows in an order of
its own, and at the end the scores of its own head. Printed is the objective on dev after the last epoch, a row for
each of the study's final seeds; test labels stay closed. Exit code 1 where the study's bce is weaker by more than .02
on average.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.nn import functional

from sdl_study.arms import Arm
from sdl_study.config import Settings, build_settings
from sdl_study.ending import main_of
from sdl_study.evaluation.objective import dev_metrics, objective_key
from sdl_study.record.chosen import Chosen, choose
from sdl_study.report.tables import text_table
from sdl_study.study.jobs import JobMaker
from sdl_study.study.recorded import recorded_plan
from sdl_study.training.inputs import Inputs, open_inputs
from sdl_study.training.model import PretrainingModel, build_model, start_at_frequencies

ARM, MOST_WEAKER = "bce", 0.02


def trained(arm: Arm, seed: int, settings: Settings, inputs: Inputs) -> PretrainingModel:
    """What everybody would write; the head starts at the labels' frequencies, as the study's does."""
    train, targets = settings.train, inputs.train_labels.to_multi_hot(torch.float32)
    model = build_model(arm, seed, settings, inputs.spec, targets.shape[1])
    model = start_at_frequencies(model, inputs.train_labels, settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
    steps = train.epochs * (len(targets) // train.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        train.learning_rate,
        total_steps=steps,
        pct_start=train.warmup_fraction,
        cycle_momentum=False,
    )
    order = torch.Generator().manual_seed(seed)
    for _ in range(train.epochs):
        places = torch.randperm(len(targets), generator=order)
        for batch in places.split(train.batch_size):
            if len(batch) < train.batch_size:
                continue
            logits, _ = model(inputs.store.fetch(inputs.train_rows[batch.numpy()]))
            loss = functional.binary_cross_entropy_with_logits(logits, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def dev_value(model: PretrainingModel, settings: Settings, inputs: Inputs) -> float:
    """The study's objective, by the head's own scores."""
    parts = [model(inputs.store.fetch(rows))[0] for rows in _split(inputs.dev_rows)]
    scores = torch.sigmoid(torch.cat(parts)).numpy()
    key, least = settings.objective, settings.objective_min_positives
    found = dev_metrics(scores, inputs.dev_labels, threshold=0.5, objective=key, min_positives=least)
    return found[objective_key(key, least)]


def _split(rows: Any, size: int = 256) -> list[Any]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def compared(chosen: Chosen) -> dict[str, Any]:
    """A row of the table."""
    record = chosen.record
    assert record.dataset is not None
    job = JobMaker(recorded_plan(record), record.dataset.folder.resolve()).final(chosen.slot).job
    settings = build_settings(job.settings, job.key)
    inputs = open_inputs(Path(job.data), Path(job.stores), settings)
    value = dev_value(trained(Arm(**job.arm), job.seed, settings, inputs), settings, inputs)
    key = objective_key(settings.objective, settings.objective_min_positives)
    return {"final": chosen.reference, "study": chosen.result.metrics[key], "plain script": value}


def _command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="the folder of a finished study with arm bce")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.study.resolve()
    seeds = choose(folder.parent, f"{folder.name}/{ARM}-0").record.identity["settings"]["budget"][
        "final_seeds"
    ]
    rows = [compared(choose(folder.parent, f"{folder.name}/{ARM}-{seed}")) for seed in range(seeds)]
    print(text_table(rows, {"final": "", "study": ".4f", "plain script": ".4f"}))
    weaker = fmean(row["plain script"] - row["study"] for row in rows)
    print(f"the plain script is {weaker:+.4f} above the study's bce on dev (bound {MOST_WEAKER})")
    raise SystemExit(int(weaker > MOST_WEAKER))


if __name__ == "__main__":
    sys.exit(main_of(_command))
