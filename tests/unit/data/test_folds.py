"""Train and dev drawn anew: whole groups, enough examples for a dev, none in two of them, by the seed alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdl_study.data.redraw import Draw, drawn_for_dev, one_after_another
from sdl_study.label_sets import LabelSets


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=40),
    of=st.integers(2, 6),
    enough=st.integers(1, 50),
    seed=st.integers(0, 2**31 - 1),
)
def test_whole_groups_and_none_in_two_draws(sizes: list[int], of: int, enough: int, seed: int) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    draws = [drawn_for_dev(groups, Draw(number, of, seed), enough) for number in range(of)]
    for dev in draws:
        own = [sizes[group] for group in set(groups[dev])]
        assert own
        assert not dev.all()
        assert not set(groups[dev]) & set(groups[~dev])
        assert sum(own) - max(own) < enough  # without its last group it would not be enough
    if len(sizes) >= of:
        assert np.sum(draws, axis=0).max() == 1
        assert enough < groups.size or np.sum(draws, axis=0).min() == 1  # every example is dev once
    assert all(
        np.array_equal(dev, drawn_for_dev(groups, Draw(number, of, seed), enough))
        for number, dev in enumerate(draws)
    )


def test_five_draws_of_as_many_examples_and_others_by_another_seed() -> None:
    first, second = (
        np.array([drawn_for_dev(np.arange(40), Draw(number, 5, seed), 200) for number in range(5)])
        for seed in (0, 1)
    )
    assert first.sum(axis=1).tolist() == second.sum(axis=1).tolist() == [8] * 5
    assert not np.array_equal(first, second)


def test_no_more_examples_than_are_enough() -> None:
    draws = [drawn_for_dev(np.arange(5_000), Draw(number, 5, 0), 200) for number in range(5)]
    assert [int(dev.sum()) for dev in draws] == [200] * 5
    assert np.sum(draws, axis=0).max() == 1


def test_with_fewer_groups_than_draws_each_is_dev_in_turn() -> None:
    groups = np.repeat([3, 5, 7], [4, 3, 6])
    draws = [set(groups[drawn_for_dev(groups, Draw(number, 5, 0), 200)].tolist()) for number in range(5)]
    assert all(len(dev) == 1 for dev in draws)
    assert set.union(*draws[:3]) == {3, 5, 7}
    assert draws[3:] == draws[:2]


def test_label_sets_one_after_another() -> None:
    first, second = [[0, 2], [], [1]], [[], [2], [0, 1, 2]]
    found = one_after_another(LabelSets.from_lists(first, 3), LabelSets.from_lists(second, 3))
    assert [found.indices[a:b].tolist() for a, b in zip(found.indptr, found.indptr[1:], strict=False)] == [
        *first,
        *second,
    ]
    assert found.num_labels == 3
