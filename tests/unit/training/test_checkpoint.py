"""Checkpoints and scores are there whole or not at all, whenever the power goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE, has_scores, save_scores
from sdl_study.training import checkpoint
from sdl_study.training.checkpoint import BEST, LAST, Progress, State

CPU = torch.device("cpu")


def state(epoch: int) -> State:
    return State(Progress(epoch=epoch), {"weight": torch.full((3,), float(epoch))}, {}, {}, rng=[{}])


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
