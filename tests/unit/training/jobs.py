"""A tiny prepared data set and jobs on it, run as a worker group runs them but without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from sdl_study import distributed
from sdl_study.config import DataSettings, ModelSettings, ProbeSettings, Settings, TrainSettings
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.training.run import run_job
from sdl_study.workers.events import Epoch
from sdl_study.workers.job import Job, Kind
from tests.unit.study.fakes import arms_named

Epochs = dict[int, dict[str, float]]
NUM_LABELS = 5
CPU = torch.device("cpu")
SPLIT_SIZES = {"train": 50, "dev": 20, "test": 20}


def write_data(out: Path) -> Path:
    """Texts whose words follow from their labels; 50 training examples, so that the last batch of 16 is short."""
    rng = np.random.default_rng(0)
    splits = [split for split, size in SPLIT_SIZES.items() for _ in range(size)]
    sets = [sorted(rng.permutation(NUM_LABELS)[: int(rng.integers(0, 4))].tolist()) for _ in splits]
    texts = [
        " ".join(
            [*(f"word{label}" for label in labels), f"noise{rng.integers(9)}", f"noise{rng.integers(9)}"]
        )
        for labels in sets
    ]
    index = pl.DataFrame(
        {
            "source_id": [f"id{i}" for i in range(len(splits))],
            "source_group": [f"group{i}" for i in range(len(splits))],
            "split": splits,
            "labels": sets,
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    codes = [f"code{label}" for label in range(NUM_LABELS)]
    preparation = Preparation("tiny", "text", "open", index, codes, codes, "by hand", {"pipeline": "test"})
    write_prepared(out, preparation, [pl.DataFrame({"text": texts})])
    return out


def settings(**train: Any) -> Settings:
    return Settings(
        data=DataSettings(name="tiny", path="unused", store={"min_count": 1}),
        model=ModelSettings(
            encoder="conv",
            encoders={
                "conv": {"kind": "conv", "width": 8, "kernel": 3},
                "bert": {"kind": "bert", "width": 8, "heads": 2, "dropout": 0.3},
            },
        ),
        train=TrainSettings(**{"epochs": 3, "batch_size": 16, "learning_rate": 1e-2, **train}),
        probe=ProbeSettings(l2_grid=(1e-2,)),
    )


def job(
    folder: Path,
    *,
    kind: Kind = "trial",
    arm: str = "sd",
    encoder: str = "conv",
    resumed: bool = False,
    **train: Any,
) -> Job:
    """A job in ``folder / "job"`` on the data in the nearest folder above that has them."""
    home = next(parent for parent in folder.parents if (parent / "data").is_dir())
    values = settings(**train).model_dump(mode="json")
    values["model"]["encoder"] = encoder
    return Job(
        key="tiny/trial/0",
        kind=kind,
        folder=str(folder / "job"),
        data=str(home / "data"),
        stores=str(home / "stores"),
        settings=values,
        arm=arms_named(arm)[0].to_dict(),
        seed=7,
        number=0,
        resumed=resumed,
    )


def run(
    work: Job, answer: Callable[[int], bool] = lambda epoch: True, device: torch.device = CPU
) -> tuple[Epochs, dict[str, Any]]:
    """Run a job on this rank; what it reported by epoch, without seconds, and its result."""
    epochs: Epochs = {}

    def report(event: Epoch) -> bool:
        epochs[event.epoch] = {key: value for key, value in event.metrics.items() if key != "seconds"}
        return answer(event.epoch)

    result = run_job(work, report, distributed.object_channel(), device)
    return epochs, result


def run_on_a_rank(*jobs: dict[str, Any]) -> list[dict[str, dict[str, float]]]:
    """For spawned processes: the epochs of jobs one after another, with text keys."""
    return [{str(epoch): metrics for epoch, metrics in run(Job(**values))[0].items()} for values in jobs]
