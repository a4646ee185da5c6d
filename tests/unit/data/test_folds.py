"""Folds of train and dev: whole groups, enough examples for a dev, none in two of them, by the seed alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdl_study.data.folds import Fold, dev_of_fold, one_after_another
from sdl_study.label_sets import LabelSets


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=40),
    of=st.integers(2, 6),
    enough=st.integers(1, 50),
    seed=st.integers(0, 2**31 - 1),
)
def test_whole_groups_and_none_in_two_folds(sizes: list[int], of: int, enough: int, seed: int) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    folds = [dev_of_fold(groups, Fold(number, of, seed), enough) for number in range(of)]
    for dev in folds:
        own = [sizes[group] for group in set(groups[dev])]
        assert own
        assert not dev.all()
        assert not set(groups[dev]) & set(groups[~dev])
        assert sum(own) - max(own) < enough  # without its last group it would not be enough
    if len(sizes) >= of:
        assert np.sum(folds, axis=0).max() == 1
        assert enough < groups.size or np.sum(folds, axis=0).min() == 1  # every example is dev once
    assert all(
        np.array_equal(dev, dev_of_fold(groups, Fold(number, of, seed), enough))
        for number, dev in enumerate(folds)
    )


def test_five_folds_of_as_many_examples_and_others_by_another_seed() -> None:
    first, second = (
        np.array([dev_of_fold(np.arange(40), Fold(number, 5, seed), 200) for number in range(5)])
        for seed in (0, 1)
    )
    assert first.sum(axis=1).tolist() == second.sum(axis=1).tolist() == [8] * 5
    assert not np.array_equal(first, second)


def test_no_more_examples_than_are_enough() -> None:
    folds = [dev_of_fold(np.arange(5_000), Fold(number, 5, 0), 200) for number in range(5)]
    assert [int(dev.sum()) for dev in folds] == [200] * 5
    assert np.sum(folds, axis=0).max() == 1


def test_with_fewer_groups_than_folds_each_is_dev_in_turn() -> None:
    groups = np.repeat([3, 5, 7], [4, 3, 6])
    folds = [set(groups[dev_of_fold(groups, Fold(number, 5, 0), 200)].tolist()) for number in range(5)]
    assert all(len(dev) == 1 for dev in folds)
    assert set.union(*folds[:3]) == {3, 5, 7}
    assert folds[3:] == folds[:2]


def test_label_sets_one_after_another() -> None:
    first, second = [[0, 2], [], [1]], [[], [2], [0, 1, 2]]
    found = one_after_another(LabelSets.from_lists(first, 3), LabelSets.from_lists(second, 3))
    assert [found.indices[a:b].tolist() for a, b in zip(found.indptr, found.indptr[1:], strict=False)] == [
        *first,
        *second,
    ]
    assert found.num_labels == 3
