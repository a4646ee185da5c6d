"""What is watched in an epoch, and that several ranks see what one would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sdl_study import distributed
from sdl_study.testing import run_processes
from sdl_study.training.monitors import BatchLog, EpochMonitor, Spread
from sdl_study.training.step import Update


def collapse(*steps: torch.Tensor) -> float:
    spread = Spread()
    for vectors in steps:
        spread.add(vectors)
    return spread.collapse()


def test_vectors_that_are_all_the_same_are_collapsed_and_opposite_ones_are_not() -> None:
    assert collapse(torch.ones(4, 3), torch.ones(2, 3)) == pytest.approx(1.0)
    assert collapse(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == 0.0
    # |(0.5, 0.5)|² over |v|² = 1
    assert collapse(torch.eye(2)) == pytest.approx(0.5)


def test_no_vector_is_no_collapse() -> None:
    assert collapse() == 0.0
    assert collapse(torch.ones(0, 3)) == 0.0
    assert collapse(torch.zeros(3, 3)) == 0.0


def collapse_of_a_share(vectors: list[list[float]]) -> float:
    """Rank 0 has the first row, the last rank none."""
    rows = torch.tensor(vectors)
    shares = [rows[:1], rows[1:], rows[:0]]
    return collapse(shares[distributed.rank()])


def test_the_ranks_together_see_what_one_would() -> None:
    vectors = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]
    assert (
        run_processes(collapse_of_a_share, 3, vectors) == [pytest.approx(collapse(torch.tensor(vectors)))] * 3
    )


def test_an_epochs_metrics_are_means_over_its_steps() -> None:
    monitor = EpochMonitor()
    for loss, valid in ((1.0, 0.5), (2.0, 1.0), (6.0, 0.0)):
        monitor.add(Update(loss, valid, torch.ones(2, 2)))
    assert monitor.metrics() == {
        "train/loss": 3.0,
        "train/valid_anchor_fraction": 0.5,
        "train/collapse": pytest.approx(1.0),
    }


def test_rows_are_noted_where_they_are_wanted(tmp_path: Path) -> None:
    with BatchLog(None) as log:
        log.add(1, 0, np.arange(2))
    assert list(tmp_path.iterdir()) == []
    for epoch in (1, 2):
        with BatchLog(tmp_path / "job") as log:
            log.add(epoch, 0, np.array([epoch, 7]))
    lines = (tmp_path / "job" / "batches-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["rows"] for line in lines] == [[1, 7], [2, 7]]
