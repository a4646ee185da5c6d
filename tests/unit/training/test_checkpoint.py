"""Checkpoints and scores are there whole or not at all, whenever the power goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE, has_scores, save_scores
from sdl_study.training import checkpoint
from sdl_study.training.checkpoint import BEST, LAST, Progress, State

CPU = torch.device("cpu")


def state(epoch: int) -> State:
    weights = {"weight": torch.full((3,), float(epoch))}
    return State(Progress(epoch=epoch), weights, {"state": {}}, {}, rng=[{}])


def epochs(folder: Path) -> dict[str, int | None]:
    loaded = {name: checkpoint.load(folder, name, CPU) for name in (LAST, BEST)}
    return {name: None if found is None else found.progress.epoch for name, found in loaded.items()}


def test_the_last_and_the_best_epoch_are_kept_and_nothing_else(tmp_path: Path) -> None:
    for epoch, is_best in ((1, True), (2, True), (3, False)):
        checkpoint.save(tmp_path, state(epoch), is_best)
    assert epochs(tmp_path) == {LAST: 3, BEST: 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST]
    found = checkpoint.load(tmp_path, BEST, CPU)
    assert found is not None
    assert torch.equal(found.model["weight"], torch.full((3,), 2.0))
    assert (found.optimizer, found.rng) == ({}, [])  # nobody goes on from the best epoch


@pytest.mark.parametrize("is_best", [True, False])
def test_after_the_last_epoch_what_was_measured_is_kept_and_the_best_weights_alone(
    is_best: bool, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path, state(2), is_best=True)
    checkpoint.save(tmp_path, state(3), is_best, is_over=True)
    last, best = (checkpoint.load(tmp_path, name, CPU) for name in (LAST, BEST))
    assert last == State(state(3).progress, {})
    assert best is not None
    assert torch.equal(best.model["weight"], torch.full((3,), 3.0 if is_best else 2.0))


def test_a_checkpoint_from_before_there_were_any_within_epochs_is_read(tmp_path: Path) -> None:
    old = {"epoch": 2, "examples_seen": 9, "seconds": 1.0, "best_value": 0.5, "best_epoch": 1, "metrics": {}}
    content = {
        "format_version": 1,
        "progress": old,
        "model": {},
        "optimizer": {},
        "schedule": {},
        "loss": {},
        "rng": [],
    }
    torch.save(content, tmp_path / LAST)
    found = checkpoint.load(tmp_path, LAST, CPU)
    assert found is not None
    assert (found.progress.epoch, found.progress.step, found.watched) == (2, 0, [])


class Clock:
    """A clock that goes on by so many seconds a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self._seconds, self.asked = 0.0, seconds, 0
        monkeypatch.setattr(checkpoint.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(checkpoint.distributed, "broadcast_object", self._broadcast)

    def _broadcast(self, value: Any, channel: Any) -> Any:
        self.asked += 1
        return value

    def due_at(self, pace: checkpoint.Pace, steps: int) -> list[int]:
        found = []
        for step in range(1, steps + 1):
            self.now += self._seconds
            if pace.due():
                found.append(step)
                pace.restart()
        return found


def test_a_checkpoint_is_due_after_so_many_seconds_and_the_ranks_ask_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, 1 / 128)
    assert clock.due_at(checkpoint.Pace(60.0, None), 20_000) == [7680, 15_360]
    assert clock.asked < 60


def test_long_steps_are_kept_one_by_one_and_none_where_there_shall_be_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, 90.0)
    assert clock.due_at(checkpoint.Pace(60.0, None), 3) == [1, 2, 3]
    assert clock.due_at(checkpoint.Pace(0.0, None), 50) == []


def test_a_step_that_takes_long_all_at_once_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch, 0.01), checkpoint.Pace(60.0, None)
    assert clock.due_at(pace, 1000) == []
    clock.now += 1000
    (found,) = clock.due_at(pace, 1100)
    assert found <= 1000  # at most as many steps as were made before


@pytest.mark.parametrize("at", [LAST, BEST])
def test_a_last_epoch_never_speaks_of_a_best_one_that_is_not_there(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes while one of the two files is written."""
    checkpoint.save(tmp_path, state(1), is_best=True)
    plain = checkpoint.written_whole

    @contextmanager
    def power_cut(path: Path) -> Iterator[IO[bytes]]:
        with plain(path) as file:
            yield file
            if path.name == at:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "written_whole", power_cut)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, state(2), is_best=True)
    found = epochs(tmp_path)
    assert found[LAST] == 1
    assert found[BEST] == (2 if at == LAST else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
@pytest.mark.parametrize("name", [LAST, BEST])
def test_a_damaged_file_is_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), is_best=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: cannot be read .* remove it to start this job again"):
        checkpoint.load(tmp_path, name, CPU)


def test_a_format_of_another_version_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(tmp_path, state(1), is_best=False)
    monkeypatch.undo()
    with pytest.raises(UserError, match="format 99, this version reads 1"):
        checkpoint.load(tmp_path, LAST, CPU)


def test_scores_are_on_the_disk_when_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is written afterwards never lies beside an empty score file."""
    synced: list[str] = []
    plain = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    assert not has_scores(tmp_path / "job")
    save_scores(tmp_path / "job" / SCORES_FILE, np.arange(3), np.full((3, 2), 0.5))
    assert SCORES_FILE in synced[0]  # under its temporary name
    assert synced[1:] == ["job"]
    assert has_scores(tmp_path / "job")
    with np.load(tmp_path / "job" / SCORES_FILE, allow_pickle=False) as archive:
        assert (archive["rows"].tolist(), archive["scores"].dtype) == ([0, 1, 2], np.float32)


def test_scores_that_cannot_be_written_leave_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / SCORES_FILE
    save_scores(path, np.arange(3), np.full((3, 2), 0.5))
    before = path.read_bytes()

    def full(file: IO[bytes], **_: object) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        save_scores(path, np.arange(3), np.full((3, 2), 0.9))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def small_model(seed: int, width: int = 3) -> nn.Sequential:
    """A frozen layer below a trained one, and statistics."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    return model.requires_grad_(False).append(nn.Linear(1, 1))


def test_frozen_weights_are_not_kept_and_all_else_comes_back() -> None:
    model, other = small_model(0), small_model(1)
    of_model, of_other = model.state_dict(), other.state_dict()
    kept = checkpoint.trained_weights(model)
    assert set(kept) == {"3.weight", "3.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    frozen = of_other["0.weight"].clone()
    checkpoint.put_back(other, kept)
    assert torch.equal(of_other["3.weight"], of_model["3.weight"])
    assert torch.equal(of_other["0.weight"], frozen)
    checkpoint.put_back(other, model.state_dict())  # of an earlier version: whole
    assert torch.equal(of_other["0.weight"], of_model["0.weight"])


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_of_another_model_are_refused(change: str) -> None:
    model = small_model(0)
    kept = checkpoint.trained_weights(model)
    if change == "missing":
        del kept["3.weight"]
    elif change == "unexpected":
        kept["4.weight"] = torch.zeros(1)
    else:
        kept["3.weight"] = torch.zeros(2, 2)
    with pytest.raises(RuntimeError, match=r"3\.weight|4\.weight"):
        checkpoint.put_back(model, kept)
