"""The probe with its labels shared out over ranks: bitwise one process's, and no rank waits for one that raised."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.losses import LabelSets
from sdl_study.testing import run_processes
from sdl_study.training.stages.label_blocks import LabelBlocks, shared_out
from sdl_study.training.stages.probe import block_width
from sdl_study.training.stages.probe_rows import KEPT_POSITIVES, probe_rows
from tests.unit.training.probe_ranks import LABELS, fit_on_a_rank, raise_and_fit

WIDTHS = (2, 4, LABELS)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    return run_processes(raise_and_fit, 2, WIDTHS)


def test_the_probe_of_every_rank_is_that_of_one_process(two: list[dict[str, Any]]) -> None:
    """Blocks for all ranks, blocks for some and, in the last case, one block for the first rank alone."""
    alone = fit_on_a_rank(*WIDTHS)
    for there in [rank["fits"] for rank in two] + run_processes(fit_on_a_rank, 3, *WIDTHS):
        for one, expected in zip(there, alone, strict=True):
            assert torch.equal(one["weight"], expected["weight"])
            assert torch.equal(one["bias"], expected["bias"])
            assert one["l2"] == expected["l2"]
            assert one["losses"] == expected["losses"]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_where_one_rank_has_too_little_memory_all_give_up_the_setting(
    two: list[dict[str, Any]], when: str
) -> None:
    said = ("ProbeTooLarge, of a peer: False", [1, 2])
    assert [rank[f"memory {when}"] for rank in two] == [said, said]


def test_a_mistake_on_one_rank_is_its_own_and_keeps_nobody_waiting(two: list[dict[str, Any]]) -> None:
    first, second = (rank["mistake"] for rank in two)
    assert first == ("PeerRaised, of a peer: True", [1, 2])
    assert second == ("ZeroDivisionError, of a peer: False", [1, 2])


def test_blocks_are_shared_out_to_and_fro() -> None:
    assert shared_out(7, 3) == [[0, 5, 6], [1, 4], [2, 3]]
    assert shared_out(1, 2) == [[0], []]


@pytest.mark.parametrize(("labels", "width", "blocks"), [(10, 4, 3), (8, 4, 2), (3, 4, 1), (9, 1, 9)])
def test_blocks_are_all_of_one_width_but_for_one_label(labels: int, width: int, blocks: int) -> None:
    sets = LabelSets(np.array([0, 0]), np.array([], dtype=np.int64), labels)
    bounds = LabelBlocks(sets, width, torch.device("cpu")).bounds
    widths = [stop - start for start, stop in bounds]
    assert len(bounds) == blocks
    assert bounds[0][0] == 0
    assert all(stop == start for (_, stop), (start, _) in pairwise(bounds))
    assert bounds[-1][1] == labels
    assert max(widths) <= min(width, min(widths) + 1)


@pytest.mark.parametrize(
    ("labels", "rows", "width"),
    [(8_921, 10_000, 558), (8_921, 47_723, 351), (428, 4_689, 256), (40, 8_103, 256), (40, 1 << 30, 1)],
)
def test_many_labels_are_solved_in_sixteen_blocks_or_as_memory_holds_them(
    labels: int, rows: int, width: int
) -> None:
    assert block_width(labels, rows, 1 << 24) == width


def rare_and_frequent(rows: int = 3_000) -> LabelSets:
    """Forty labels: one of half of the rows, and others of ever fewer, down to two rows."""
    generator = np.random.default_rng(0)
    lists: list[list[int]] = [[] for _ in range(rows)]
    for label, count in enumerate(np.geomspace(rows / 2, 2, 40).astype(int)):
        for row in generator.choice(rows, count, replace=False):
            lists[row].append(label)
    return LabelSets.from_lists(lists, 40)


def test_rows_are_the_same_for_a_seed_and_all_where_they_fit() -> None:
    labels = rare_and_frequent()
    rows = probe_rows(labels, 600, seed=1)
    assert len(rows) == 600
    assert all(one < other for one, other in pairwise(rows))
    np.testing.assert_array_equal(rows, probe_rows(labels, 600, seed=1))
    assert not np.array_equal(rows, probe_rows(labels, 600, seed=2))
    for most in (None, 3_000, 5_000):
        np.testing.assert_array_equal(probe_rows(labels, most, seed=1), np.arange(3_000))


def test_rare_labels_keep_rows_and_frequent_ones_their_frequency() -> None:
    labels = rare_and_frequent()
    whole, kept = labels.counts(), labels[probe_rows(labels, 600, seed=1)].counts()
    assert (kept >= np.minimum(whole, KEPT_POSITIVES)).all()
    assert kept[0] / 600 == pytest.approx(whole[0] / 3_000, abs=0.06)


def test_where_not_all_labels_can_keep_a_row_as_many_as_possible_do() -> None:
    labels = LabelSets.from_lists([[row] for row in range(50)] + [[]] * 950, 50)
    kept = labels[probe_rows(labels, 40, seed=3)]
    assert len(kept) == 40
    assert 20 <= len(np.unique(kept.indices)) < 40


def test_rows_without_labels_are_drawn_too() -> None:
    labels = LabelSets.from_lists([[0]] * 30 + [[]] * 970, 1)
    kept = probe_rows(labels, 100, seed=0)
    assert KEPT_POSITIVES <= (kept < 30).sum() < 20
