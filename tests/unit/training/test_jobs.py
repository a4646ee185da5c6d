"""Jobs: independent of what ran before, sharded exactly, as long as they are told, and blind to test labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.config import TrainSettings
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.embeddings import EMBEDDINGS_FILE, read_embeddings
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.testing import run_processes
from sdl_study.training import checkpoint
from sdl_study.training import run as run_module
from sdl_study.training.step import NonFiniteLoss
from sdl_study.workers.job import JobStopped
from tests.unit.training.jobs import SPLIT_SIZES, job, run, run_on_a_rank

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_a_process_ran_before_does_not_show(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers in a new process and after jobs of another encoder, one of which raised in a step."""
    alone = folder / "alone"
    ((fresh,),) = run_processes(run_on_a_rank, 1, job(alone, encoder="conv").to_dict(), initialize=False)
    run(job(folder / "other", encoder="bert", arm="bce"))

    def broken(*_: Any) -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        raise ValueError("in the middle of a step")

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(ValueError, match="middle of a step"):
        run(job(folder / "raises", encoder="bert"))
    monkeypatch.undo()
    after, _ = run(job(folder / "after", encoder="conv"))
    assert {str(epoch): metrics for epoch, metrics in after.items()} == fresh


def batches(folder: Path, ranks: int) -> list[dict[tuple[int, int], list[int]]]:
    """By rank: the rows of every (epoch, step); no two ranks are one process."""
    found, processes = [], []
    for rank in range(ranks):
        lines = (folder / "job" / f"batches-{rank}.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        processes.append({record["pid"] for record in records})
        found.append({(record["epoch"], record["step"]): record["rows"] for record in records})
    assert [len(pids) for pids in processes] == [1] * ranks
    assert len(set().union(*processes)) == ranks
    return found


def test_sharding_is_real_and_changes_nothing(home: Path, folder: Path) -> None:
    """Disjoint shards in different processes whose union is the single process's batch, and the same losses."""
    arms = ("sd", "bce")
    jobs = [job(folder / f"three-{arm}", arm=arm, record_batches=True).to_dict() for arm in arms]
    spread = run_processes(run_on_a_rank, 3, *jobs)
    assert spread[0] == spread[1] == spread[2]
    for arm, there in zip(arms, spread[0], strict=True):
        single, _ = run(job(folder / f"one-{arm}", arm=arm, record_batches=True))
        check_batches(home, batches(folder / f"one-{arm}", 1)[0], batches(folder / f"three-{arm}", 3))
        for epoch, metrics in single.items():
            assert there[str(epoch)]["train/loss"] == pytest.approx(metrics["train/loss"], rel=1e-5)
            assert there[str(epoch)]["dev/map"] == pytest.approx(metrics["dev/map"], abs=0.02)


def check_batches(
    home: Path, alone: dict[tuple[int, int], list[int]], shards: list[dict[tuple[int, int], list[int]]]
) -> None:
    assert [len(shard[1, 3]) for shard in shards] == [
        1,
        1,
        0,
    ]  # the last batch holds the remainder: 50 = 3·16 + 2
    train = PreparedData.load(home / "data").rows("train").tolist()
    for epoch in (1, 2, 3):
        seen: list[int] = []
        for step in range(4):
            assert [row for shard in shards for row in shard[epoch, step]] == alone[epoch, step]
            seen += alone[epoch, step]
        assert sorted(seen) == train  # each training example once an epoch


def test_stop_means_no_further_epoch(folder: Path) -> None:
    with pytest.raises(JobStopped):
        run(job(folder), lambda epoch: epoch < 2)
    state = checkpoint.load(folder / "job", checkpoint.LAST, torch.device("cpu"))
    assert state is not None
    assert state.progress.epoch == 2
    assert state.progress.examples_seen == 2 * SPLIT_SIZES["train"]


def test_a_loss_that_is_not_finite_ends_the_job_before_the_update(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: stepped.append(1))
    monkeypatch.setattr("sdl_study.training.model.functional.normalize", lambda values, dim: values * 1e30)
    with pytest.raises(NonFiniteLoss):
        run(job(folder))
    assert stepped == []


@pytest.mark.parametrize("kind", ["final", "control"])
def test_a_final_scores_the_test_inputs_and_needs_no_test_labels(home: Path, folder: Path, kind: Any) -> None:
    hidden = folder / "test_labels.parquet"
    (home / "data" / "test_labels.parquet").rename(hidden)
    try:
        epochs, ended = run(job(folder, kind=kind))
    finally:
        hidden.rename(home / "data" / "test_labels.parquet")
    assert len(epochs) == (3 if kind == "final" else 0)
    assert ended["examples_seen"] == (3 * SPLIT_SIZES["train"] if kind == "final" else 0)
    with np.load(folder / "job" / SCORES_FILE, allow_pickle=False) as archive:
        rows, scores = archive["rows"], archive["scores"]
    assert rows.tolist() == PreparedData.load(home / "data").rows("test").tolist()
    assert scores.shape == (SPLIT_SIZES["test"], 5)
    kept = read_embeddings(folder / "job")
    assert kept is not None  # the data are open
    assert kept[0].tolist() == rows.tolist()
    assert kept[1].shape == (SPLIT_SIZES["test"], 8)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_restricted_data_leave_no_embeddings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = run_module.open_inputs
    monkeypatch.setattr(run_module, "open_inputs", lambda *given: replace(opened(*given), are_open=False))
    run(job(folder, kind="final"))
    assert (folder / "job" / SCORES_FILE).is_file()
    assert not (folder / "job" / EMBEDDINGS_FILE).exists()


def test_a_final_uses_the_best_epoch_and_the_earlier_one_on_a_tie(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter((0.3, 0.5, 0.5))
    monkeypatch.setattr("sdl_study.training.course.dev_metrics", lambda *_: {"dev/objective": next(values)})
    _, ended = run(job(folder, kind="final"))
    best = checkpoint.load(folder / "job", checkpoint.BEST, torch.device("cpu"))
    assert best is not None
    assert ended["best_epoch"] == best.progress.epoch == 2


@pytest.mark.parametrize(
    ("rows", "epochs", "least", "passes"),
    [(50, 3, 0, 1), (50, 3, 150, 1), (50, 3, 151, 2), (50, 3, 600, 4), (10_000, 3, 600, 1), (1, 1, 7, 7)],
)
def test_an_epoch_of_a_small_table_passes_over_it_more_than_once(
    rows: int, epochs: int, least: int, passes: int
) -> None:
    train = TrainSettings(epochs=epochs, min_examples=least)
    assert train.passes(rows) == passes
    assert epochs * passes * rows >= least
    assert passes == 1 or epochs * (passes - 1) * rows < least


def test_length_can_be_given_in_steps() -> None:
    train = TrainSettings(epochs=3, batch_size=16, min_steps=60)
    assert train.passes(50) == 5  # of 4 steps each, in 3 epochs
    assert train.passes(2_000) == 1


@pytest.mark.parametrize("batch_size", [8, 16])
def test_several_passes_in_an_epoch_are_those_of_as_many_epochs(folder: Path, batch_size: int) -> None:
    """Every batch size sees the same number of examples, in the order of plain epochs."""
    apart, plain = run(
        job(folder / "plain", kind="final", epochs=6, batch_size=batch_size, record_batches=True)
    )
    found, ended = run(
        job(
            folder / "passes", kind="final", epochs=3, min_examples=300, batch_size=batch_size,
            record_batches=True,
        )
    )  # fmt: skip
    assert len(found) == 3
    assert ended["examples_seen"] == plain["examples_seen"] == 300
    assert found[3]["train/learning_rate"] == apart[6]["train/learning_rate"]
    assert found[3]["dev/map"] == apart[6]["dev/map"]
    logs = [
        [json.loads(line) for line in (folder / name / "job" / "batches-0.jsonl").read_text().splitlines()]
        for name in ("plain", "passes")
    ]
    assert [line["rows"] for line in logs[0]] == [line["rows"] for line in logs[1]]
    assert [line["step"] for line in logs[1] if line["epoch"] == 2] == list(range(len(logs[1]) // 3))


def test_training_learns_something_the_untrained_encoder_does_not_have(folder: Path) -> None:
    _, untrained = run(job(folder / "untrained", kind="control"))
    _, trained = run(job(folder / "trained", kind="final", epochs=8))
    assert trained["metrics"]["dev/map"] > untrained["metrics"]["dev/map"]


def test_a_damaged_checkpoint_is_named(folder: Path) -> None:
    run(job(folder, epochs=1))
    (folder / "job" / checkpoint.LAST).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"last\.pt: cannot be read"):
        run(job(folder, resumed=True, epochs=1))


@pytest.mark.parametrize(("least", "key"), [(0, "dev/map"), (1, "dev/objective")], ids=["all", "counted"])
def test_a_trial_is_worth_the_objective_of_its_best_epoch(folder: Path, least: int, key: str) -> None:
    work = job(folder)
    epochs, ended = run(replace(work, settings={**work.settings, "objective_min_positives": least}))
    assert ended["objective"] == max(metrics[key] for metrics in epochs.values())
    assert ended["epochs"] == [metrics[key] for metrics in epochs.values()]
    assert all(("dev/objective" in metrics) == (least > 0) for metrics in epochs.values())


@pytest.mark.parametrize("grow", [False, True])
def test_the_strength_of_every_epochs_probe_is_told_where_the_grid_may_grow(folder: Path, grow: bool) -> None:
    work = job(folder)
    probe = {"l2_grid": (0.01, 0.1), "grow": grow}
    epochs, _ = run(replace(work, settings={**work.settings, "probe": probe}))
    assert all(("probe/l2" in metrics) == grow for metrics in epochs.values())


def test_an_encoder_is_compiled_where_that_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[dict[str, Any]] = []

    def compiler(function: Any, **options: Any) -> Any:
        compiled.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    plain, _ = run(job(folder / "plain"))
    assert not compiled
    epochs, _ = run(job(folder / "compiled", compile=True))
    assert compiled == [{"dynamic": True}]
    assert epochs == plain
