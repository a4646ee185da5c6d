"""The compiled loops beside sums written out, positive by positive."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation.metrics.label_sums import compiled, strips, sums_by_label


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_sums_over_the_positives_of_a_label(levels: int, dtype: type[np.generic]) -> None:
    """Many tied scores, a few, and none."""
    rng = np.random.default_rng(levels)
    by_label = rng.integers(0, levels, (3, 40)).astype(np.float32)
    sets = [rng.choice(40, size, replace=False) for size in (1, 7, 20)]
    rows = np.concatenate([own[np.argsort(-by_label[i][own])] for i, own in enumerate(sets)])
    first = np.array([0, 1, 8, 28])
    weights = rng.poisson(1.0, (40, 9)).astype(dtype)
    positives, precisions, negatives = sums_by_label(*strips(by_label, rows, first), rows, first, weights)
    for label, own in enumerate(sets):
        scores, mine = by_label[label], weights[own].astype(float)
        others = np.setdiff1d(np.arange(40), own)
        at_least = np.array([weights[scores >= scores[row]].sum(axis=0) for row in own])
        of_them = np.array([weights[own][scores[own] >= scores[row]].sum(axis=0) for row in own])
        higher = np.array([weights[others][scores[others] > scores[row]].sum(axis=0) for row in own])
        same = np.array([weights[others][scores[others] == scores[row]].sum(axis=0) for row in own])
        np.testing.assert_array_equal(positives[label], mine.sum(axis=0))
        expected = (mine * of_them / np.maximum(at_least, 1)).sum(axis=0)
        np.testing.assert_allclose(precisions[label], expected, rtol=1e-14)
        np.testing.assert_array_equal(negatives[label], (mine * (higher + 0.5 * same)).sum(axis=0))


def test_documents_below_the_last_positive_are_left_out() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], np.float32)
    documents, starts = strips(scores, np.array([1, 2]), np.array([0, 2]))
    assert documents.tolist() == [0, 1, 2]
    assert starts.tolist() == [0, 1, 2, 2, 3]


def test_where_nothing_can_be_written_the_loops_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert compiled(lambda number: number + 1)(2) == 3
