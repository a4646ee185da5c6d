"""A worker killed in the middle of an epoch costs nothing, whatever the encoder: its group goes on from there."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Result
from sdl_study.study.jobs import JobMaker, Work, run_all
from sdl_study.study.plan import Plan, make_plan
from sdl_study.training.checkpoint import BEST, LAST, load
from sdl_study.workers.events import Epoch, Event, Failed
from tests.integration import families
from tests.integration.conftest import Engines

SLOW = pytest.mark.slow
FAMILIES = ("llama", *(pytest.param(encoder, marks=SLOW) for encoder in ("bert", "resnet", "mlp")))
EVERY_STEP = 1e-9
"""Minutes between two checkpoints."""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """Studies of texts, images and features, by the encoders that they have."""
    root = tmp_path_factory.mktemp("families")
    of_data = [
        (families.texts(root), families.text_models(root), 16),
        (families.images(root), families.image_models(root), 8),
        (families.features(root), {"mlp": {"kind": "mlp", "width": 16}}, 8),
    ]
    found: dict[str, Plan] = {}
    for data, encoders, batch_size in of_data:
        study = families.study_of(data, encoders, batch_size=batch_size, record_batches=True)
        plan = make_plan(study, root / "studies", data.name, {})
        found |= dict.fromkeys(encoders, plan)
    return found


def work_of(plan: Plan, encoder: str, name: str, checkpoint_minutes: float) -> Work:
    maker = JobMaker(plan, Path(str(plan.settings.data.path)))
    parameters = {"model.encoder": encoder, "train.learning_rate": 3e-3}
    folder = plan.files.folder / "finals" / f"{encoder}-{name}"
    slot = FinalSlot(name, "final", 0, "any", parameters, folder, f"{encoder}/final/{name}/0")
    work = maker.final(slot)
    work.job.settings["train"]["checkpoint_minutes"] = checkpoint_minutes
    return work


def batches(work: Work) -> list[dict[str, Any]]:
    """Steps of rank 1 that it lived to write down: those of whole epochs, and all of an attempt that ended."""
    return [json.loads(line) for line in (work.folder / "batches-1.jsonl").read_text().splitlines()]


def kill_in_the_middle(work: Work, killed: list[tuple[int, int]]) -> None:
    """Kill rank 1 when a checkpoint tells of some steps of an epoch, and note how far it was."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = load(work.folder, LAST, torch.device("cpu"))
        if state is not None and state.progress.epoch == 1 and state.progress.step >= 2:
            os.kill(batches(work)[-1]["pid"], signal.SIGKILL)
            killed.append((state.progress.epoch + 1, state.progress.step))
            return
        time.sleep(0.002)


def weights(work: Work) -> dict[str, torch.Tensor]:
    return torch.load(work.folder / BEST, weights_only=True)["model"]


@pytest.mark.parametrize("encoder", FAMILIES)
def test_a_worker_killed_in_an_epoch(encoder: str, plans: dict[str, Plan], engines: Engines) -> None:
    engine = engines.get()
    whole = work_of(plans[encoder], encoder, "whole", 0)
    broken = work_of(plans[encoder], encoder, "broken", EVERY_STEP)
    epochs: dict[str, dict[int, dict[str, float]]] = {whole.job.key: {}, broken.job.key: {}}
    killed: list[tuple[int, int]] = []
    attempts: list[int] = []
    failures: list[Failed] = []

    def told(work: Work, event: Event) -> None:
        attempts.append(event.attempts)
        if isinstance(event, Failed):
            failures.append(event)
        if not isinstance(event, Epoch):
            return
        kept = {key: value for key, value in event.metrics.items() if key != "seconds"}
        epochs[work.job.key].setdefault(event.epoch, kept)
        if work is broken and (event.epoch, event.attempts) == (1, 1):
            threading.Thread(target=kill_in_the_middle, args=(work, killed)).start()

    assert run_all([whole, broken], engine, told) == [], failures
    ((epoch, step),) = killed
    assert attempts[-1] == 2
    first, last = ([line for line in batches(broken) if line["epoch"] == e] for e in (1, epoch))
    assert {line["pid"] for line in last}.isdisjoint(line["pid"] for line in first)
    assert last[0]["step"] >= step > 0  # not from the start of the epoch
    assert [line["step"] for line in last] == list(range(last[0]["step"], len(first)))

    assert epochs[broken.job.key] == epochs[whole.job.key]
    assert list(epochs[whole.job.key]) == [1, 2]
    ended, ended_again = whole.outcome, broken.outcome
    assert isinstance(ended, Result)
    assert isinstance(ended_again, Result)
    for field in ("metrics", "examples_seen", "best_epoch"):
        assert getattr(ended, field) == getattr(ended_again, field)
    ours, theirs = weights(whole), weights(broken)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
