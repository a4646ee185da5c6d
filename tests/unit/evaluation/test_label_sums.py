"""The compiled loops beside sums written out, positive by positive."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation.metrics.label_sums import strips, sums_above, weighted_sums


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_what_lies_above_a_positive(levels: int, ties: bool, dtype: type[np.generic]) -> None:
    """Many tied scores, a few, and none."""
    rng = np.random.default_rng(levels)
    by_label = rng.integers(0, levels, (3, 40)).astype(np.float32)
    sets = [rng.choice(40, size, replace=False) for size in (1, 7, 20)]
    rows = np.concatenate([own[np.argsort(-by_label[i][own])] for i, own in enumerate(sets)])
    first = np.array([0, 1, 8, 28])
    weights = rng.poisson(1.0, (40, 9)).astype(dtype)
    documents, starts = strips(by_label, rows, first)
    found, positives = sums_above(documents, starts, rows, first, weights, ties)
    for label, own in enumerate(sets):
        scores = by_label[label]
        for place in range(first[label], first[label + 1]):
            score = scores[rows[place]]
            above = scores >= score if ties else scores > score
            np.testing.assert_array_equal(found[place], weights[above].sum(axis=0))
            np.testing.assert_array_equal(
                positives[place], weights[np.intersect1d(np.flatnonzero(above), own)].sum(axis=0)
            )
    totals = weighted_sums(found, rows, first, weights)
    expected = np.add.reduceat(found * weights[rows], first[:-1], axis=0)
    np.testing.assert_allclose(totals, expected, rtol=1e-14)


def test_documents_below_the_last_positive_are_left_out() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], np.float32)
    documents, starts = strips(scores, np.array([1, 2]), np.array([0, 2]))
    assert documents.tolist() == [0, 1, 2]
    assert starts.tolist() == [0, 1, 2, 2, 3]
