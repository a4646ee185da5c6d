"""Training teaches: sd's encoder beats itself untrained and the label prior; with shuffled labels it does not."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipelines.demo import prepare
from sdl_study.arms import LABEL_PRIOR, SD
from sdl_study.commands.study import DEMOS
from sdl_study.config import Settings
from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.own_modules import OwnStudy, load_study
from sdl_study.setting_paths import with_values
from sdl_study.study.controls import run_control
from sdl_study.training.run import run_job
from sdl_study.workers.job import Job

# What the demos' finals must show over three seeds; here one seed and half the epochs do already.
OVER_UNTRAINED, OVER_PRIOR, SHUFFLED_WITHIN = 0.10, 0.15, 0.05
EPOCHS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings_of(own: OwnStudy, **more: Any) -> Settings:
    return with_values(own.study.settings, {**own.study.space.published_point("sd", {}), **more}, "test")


def map_of(data: PreparedData, scores: Path) -> float:
    """Test mAP of a file of scores."""
    table = pl.read_parquet(data.path / "test_labels.parquet").sort("id")
    labels = np.zeros((table.height, data.manifest.num_labels), dtype=bool)
    for row, present in enumerate(table["labels"].to_list()):
        labels[row, present] = True
    with np.load(scores) as archive:
        return float(multilabel_metrics(archive["scores"], labels, threshold=0.5)["map"])


def score(data: PreparedData, folder: Path, kind: Any, settings: Settings, seed: int = 11) -> float:
    job = Job(
        key=folder.name, kind=kind, folder=str(folder), data=str(data.path), stores=str(folder.parent / "stores"),
        settings=settings.model_dump(mode="json"), arm=SD.to_dict(), seed=seed,
    )  # fmt: skip
    run_job(job, lambda event: True, None, torch.device("cpu"))
    return map_of(data, folder / SCORES_FILE)


def check(own: OwnStudy, folder: Path, seeds: tuple[int, ...], **more: Any) -> None:
    """The promises, on the mean over seeds."""
    data = PreparedData.load(prepare(own.name, folder / "data"))
    place = folder / own.name / str(len(seeds))
    settings = settings_of(own, **more)
    shuffled_settings = settings_of(own, **more, **{"data.shuffle_train_labels": True})
    trained = fmean(score(data, place / f"trained{seed}", "final", settings, seed) for seed in seeds)
    untrained = fmean(score(data, place / f"untrained{seed}", "control", settings, seed) for seed in seeds)
    shuffled = score(data, place / "shuffled", "final", shuffled_settings, seeds[0])
    run_control(LABEL_PRIOR, data, settings, place / "prior")
    prior = map_of(data, place / "prior" / SCORES_FILE)
    print(
        f"{own.name}: sd {trained:.3f}, untrained {untrained:.3f}, shuffled {shuffled:.3f}, prior {prior:.3f}"
    )
    assert trained >= untrained + OVER_UNTRAINED
    assert trained >= prior + OVER_PRIOR
    assert abs(shuffled - prior) <= SHUFFLED_WITHIN


@pytest.mark.parametrize("name", DEMOS)
def test_sd_beats_its_untrained_self_and_the_prior(name: str, folder: Path) -> None:
    check(load_study(name), folder, (11,), **{"train.epochs": EPOCHS})


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMOS)
def test_and_so_it_does_over_three_seeds_of_the_demo_itself(name: str, folder: Path) -> None:
    check(load_study(name), folder, (1, 2, 3))
