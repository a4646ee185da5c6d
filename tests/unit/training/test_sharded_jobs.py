"""A job whose encoder is sharded over the ranks: the numbers of a replicated one, resumed, scored and saved whole."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.models import load_encoder
from sdl_study.record.files import ENCODER_FOLDER
from sdl_study.testing import run_processes
from sdl_study.training import checkpoint
from sdl_study.training.stages import scoring
from sdl_study.training.stages.embed import embed
from sdl_study.training.step import Step
from sdl_study.workers.job import Job
from tests.unit.training.jobs import job, run, write_data


class Killed(BaseException):
    """The process ends here."""


def whole_and_broken_off(*works: dict[str, Any]) -> list[dict[str, Any]]:
    """For spawned processes: jobs, the last of which is killed in its second epoch and goes on."""
    found = [numbers(*run(Job(**work))) for work in works]
    update, made = Step.update, 0

    def killed(self: Step, *given: Any) -> Any:
        nonlocal made
        made += 1
        if made == 7:  # 4 steps an epoch
            raise Killed
        return update(self, *given)

    broken = replace(Job(**works[-1]), folder=works[-1]["folder"] + "-broken")
    try:
        with patch.object(Step, "update", killed):
            run(broken)
    except Killed:
        found.append(numbers(*run(replace(broken, resumed=True))))
    return found


def numbers(epochs: dict[int, dict[str, float]], ended: dict[str, Any]) -> dict[str, float]:
    of_epochs = {
        f"{epoch}/{name}": value for epoch, metrics in epochs.items() for name, value in metrics.items()
    }
    return {**of_epochs, **ended["metrics"], "best_epoch": ended["best_epoch"]}


def test_a_sharded_job_is_a_replicated_one(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    often = {"kind": "final", "checkpoint_minutes": 1e-9, "epochs": 2}
    works = [
        job(tmp_path / "ddp", **often),
        job(tmp_path / "fsdp", parallel="fsdp", **often),
        job(tmp_path / "micro", parallel="fsdp", micro_batch=5, **often),
    ]
    for replicated, sharded, micro, gone_on in run_processes(
        whole_and_broken_off, 2, *(work.to_dict() for work in works)
    ):
        assert replicated.keys() == sharded.keys() == micro.keys()
        for name, value in replicated.items():
            tolerance = 1e-5 * value if name.endswith("train/loss") else 0.02
            assert [sharded[name], micro[name]] == pytest.approx([value, value], abs=tolerance), name
        assert gone_on == micro
    for name in ("fsdp", "micro"):
        _check_files(tmp_path / name / "job", tmp_path / "ddp" / "job")


def with_a_slow_disk(plain: dict[str, Any], slow: dict[str, Any]) -> list[list[Any]]:
    """For spawned processes: the rows of dev and test as the last stage sees them, of two equal jobs.

    The second one's files take long to write.
    """
    seen: list[list[Any]] = [[], []]

    def saved(*given: Any) -> None:
        time.sleep(0.5)
        save(*given)

    save = checkpoint.save
    for work, rows in zip((plain, slow), seen, strict=True):
        with (
            patch.object(checkpoint, "save", saved if work is slow else save),
            patch.object(scoring, "embed", lambda *given, rows=rows: _kept(embed(*given), rows)),
        ):
            run(Job(**work))
    return seen


def _kept(embeddings: torch.Tensor, rows: list[Any]) -> torch.Tensor:
    rows.append(embeddings.tolist())
    return embeddings


def test_no_rank_reads_the_best_epoch_before_it_is_written(tmp_path: Path) -> None:
    """A rank that did would score its share of the rows with the weights of an earlier epoch."""
    write_data(tmp_path / "data")
    works = [job(tmp_path / name, kind="final", epochs=1) for name in ("plain", "slow")]
    for plain, slow in run_processes(with_a_slow_disk, 2, *(work.to_dict() for work in works)):
        assert len(plain) == 5
        assert plain == slow


def _check_files(folder: Path, expected: Path) -> None:
    """Weights are whole: the encoder is read as any other, and a checkpoint by a job that is not sharded."""
    ours, theirs = (load_encoder(where / ENCODER_FOLDER) for where in (folder, expected))
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    best = checkpoint.load(folder, checkpoint.BEST, torch.device("cpu"))
    assert best is not None
    assert {type(value) for value in best.model.values()} == {torch.Tensor}
    with np.load(folder / SCORES_FILE) as one, np.load(expected / SCORES_FILE) as other:
        assert one["scores"].shape == other["scores"].shape
