"""Batches of augmented images: the same whatever the number of ranks, two views of an example with its labels twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdl_study.config import DataSettings, ModelSettings, ProbeSettings, Settings, TrainSettings
from sdl_study.errors import UserError
from sdl_study.space import SearchSpace, choice
from sdl_study.study.checks import check_augment
from sdl_study.testing import run_processes
from sdl_study.training.augment import Augmentation
from sdl_study.training.batches import Batches
from sdl_study.training.inputs import Inputs, open_inputs
from sdl_study.workers.job import Job
from tests.unit.data import small
from tests.unit.study.fakes import arms_named
from tests.unit.training.jobs import run, run_on_a_rank

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("images")
    small.write_images(home / "flat", home / "images")
    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((16, 16)).save(home / "images" / f"{i}.png")
    small.prepare_images(home / "data", home / "images")
    return home


def settings(**train: Any) -> Settings:
    resnet = {"kind": "resnet", "widths": (4, 8), "depths": (1, 1), "groups": 2}
    return Settings(
        data=DataSettings(name="small", path="unused", store={"image_size": 16}),
        model=ModelSettings(encoder="resnet", encoders={"resnet": resnet}),
        train=TrainSettings(**{"epochs": 2, "batch_size": 16, **train}),
        probe=ProbeSettings(l2_grid=(1e-2,)),
    )


def inputs_of(home: Path) -> Inputs:
    return open_inputs(home / "data", home / "stores", settings())


def image_job(home: Path, name: str, arm: str = "sd", **train: Any) -> Job:
    values = settings(**train).model_dump(mode="json")
    return Job(
        key="small/trial/0", kind="trial", folder=str(home / name), data=str(home / "data"),
        stores=str(home / "stores"), settings=values, arm=arms_named(arm)[0].to_dict(), seed=7, number=0,
    )  # fmt: skip


def batch_of(inputs: Any, train: TrainSettings, step: tuple[int, int], positions: Any) -> tuple[Any, Any]:
    batches = Batches(inputs, train, 7, CPU)
    (batch,), labels = batches.on_device(batches.read((step, positions)))
    return batch, labels


def test_micro_batches_hold_the_same_views(home: Path) -> None:
    inputs, positions = inputs_of(home), np.array([3, 0, 8, 5, 1])
    train = settings(augment="strong", views=2).train
    whole, labels = batch_of(inputs, train, (2, 4), positions)
    batches = Batches(inputs, train, 7, CPU, micro_batch=4)  # two examples in two views
    chunks, of_chunks = batches.on_device(batches.read(((2, 4), positions)))
    assert [len(chunk["pixel_values"]) for chunk in chunks] == [4, 4, 2]
    assert len(of_chunks) == len(labels) == 10
    views = whole["pixel_values"].unflatten(0, (2, 5))
    for chunk, start in zip(chunks, (0, 2, 4), strict=True):
        assert torch.equal(chunk["pixel_values"], views[:, start : start + 2].flatten(0, 1))
    assert of_chunks[:4] == inputs.train_labels[np.array([3, 0, 3, 0])]


def test_lists_among_the_settings_of_a_store_are_read(home: Path) -> None:
    """What an encoder reads comes as JSON, its mean and standard deviation as lists."""
    plain = settings()
    store = {"image_size": 16, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    chosen = plain.model_copy(update={"data": DataSettings(name="small", path="unused", store=store)})
    inputs = open_inputs(home / "data", home / "stores", chosen)
    values = inputs.store.fetch(inputs.train_rows)["pixel_values"]
    assert 0 <= values.min() < values.max() <= 1


def test_without_augmentation_a_batch_is_what_the_store_gives(home: Path) -> None:
    inputs, positions = inputs_of(home), np.array([3, 0, 8])
    batch, labels = batch_of(inputs, settings().train, (1, 0), positions)
    expected = inputs.store.fetch(inputs.train_rows[positions])["pixel_values"]
    assert torch.equal(batch["pixel_values"], expected)
    assert labels == inputs.train_labels[positions]


def test_views_are_normalised_and_carry_their_labels(home: Path) -> None:
    inputs, positions = inputs_of(home), np.array([3, 0, 8])
    train = settings(augment="strong", views=2).train
    batch, labels = batch_of(inputs, train, (2, 4), positions)
    pixels = inputs.store.pixels(inputs.train_rows[positions])
    expected = Augmentation("strong", 2, 7)(pixels, (2, 4), positions)
    assert torch.equal(batch["pixel_values"], inputs.store.normalise(expected))
    assert len(labels) == 6
    assert labels[:3] == labels[3:] == inputs.train_labels[positions]


def test_ranks_share_the_views_of_one_process(home: Path) -> None:
    """36 examples in batches of 7 on two ranks, each with two views; of the last batch one rank has nothing."""
    arms, train = ("sd", "bce"), {"augment": "strong", "views": 2, "batch_size": 7}
    jobs = [image_job(home, f"two-{arm}", arm, **train).to_dict() for arm in arms]
    spread = run_processes(run_on_a_rank, 2, *jobs)
    assert spread[0] == spread[1]
    for arm, there in zip(arms, spread[0], strict=True):
        single, _ = run(image_job(home, f"one-{arm}", arm, **train))
        for epoch, metrics in single.items():
            assert there[str(epoch)]["train/loss"] == pytest.approx(metrics["train/loss"], rel=1e-4)


def test_augmentation_changes_what_is_learned_and_an_example_counts_once(home: Path) -> None:
    plain, _ = run(image_job(home, "plain"))
    flipped, _ = run(image_job(home, "flipped", augment="flip"))
    twice, _ = run(image_job(home, "twice", augment="flip", views=2))
    again, _ = run(image_job(home, "again", augment="flip", views=2))
    assert plain[1]["train/loss"] != flipped[1]["train/loss"] != twice[1]["train/loss"]
    assert twice == again
    assert twice[1]["train/learning_rate"] == plain[1]["train/learning_rate"]  # as many steps


def test_two_views_need_an_augmentation() -> None:
    with pytest.raises(ValueError, match=r"two views of an example are the same without train\.augment"):
        settings(views=2)


@pytest.mark.parametrize("searched", [False, True])
def test_only_images_are_augmented(searched: bool) -> None:
    chosen = settings() if searched else settings(augment="flip")
    space = SearchSpace((choice("train.augment", "none", "flip"),) if searched else (), {})
    with pytest.raises(
        UserError, match=r"^mine: train\.augment: only images are augmented, the data set holds text"
    ):
        check_augment(space, chosen, "text", "mine")
    check_augment(space, chosen, "image", "mine")
