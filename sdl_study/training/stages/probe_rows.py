"""Which rows of train an epoch's probe is fitted on, where train is larger than that needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

    from sdl_study.losses import LabelSets

KEPT_POSITIVES = 8


def probe_rows(labels: LabelSets, most: int | None, seed: int) -> Int[np.ndarray, " kept"]:
    """Places of the rows, ascending; all where there are no more than ``most``.

    The rows are drawn at random, but for at most half of them: those go first to labels that would be left with fewer
    than ``KEPT_POSITIVES`` rows, one row for each before any has two, so that rare labels stay learnable and frequent
    ones keep (nearly) their frequency.

    Args:
        labels: of all rows.
        most: how many rows to keep; None for all.
        seed: draws them.
    """
    count = len(labels)
    if most is None or count <= most:
        return np.arange(count)
    order = np.random.default_rng(seed).permutation(count)
    turn = _turn(labels[order])
    wanted = np.argsort(turn, kind="stable")[: most // 2]
    wanted = wanted[turn[wanted] < KEPT_POSITIVES]
    is_wanted = np.zeros(count, dtype=bool)
    is_wanted[wanted] = True
    drawn = np.flatnonzero(~is_wanted)[: most - len(wanted)]
    return np.sort(order[np.concatenate([wanted, drawn])])


def _turn(labels: LabelSets) -> Int[np.ndarray, " n"]:
    """For every row the smallest number of earlier rows that carry one of its labels; rows without a label last."""
    rows, columns = labels.row_of_entry(), labels.indices
    by_label = np.argsort(columns, kind="stable")
    starts = np.concatenate([[0], np.cumsum(labels.counts())[:-1]])
    earlier = np.empty(len(columns), dtype=np.int64)
    earlier[by_label] = np.arange(len(columns)) - starts[columns[by_label]]
    turn = np.full(len(labels), np.iinfo(np.int64).max)
    np.minimum.at(turn, rows, earlier)
    return turn
