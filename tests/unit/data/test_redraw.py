"""Train and dev drawn anew: whole groups, as many examples as before, by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl_study.data.redraw import drawn_for_dev, one_after_another
from sdl_study.label_sets import LabelSets


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=40),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**31 - 1),
)
def test_whole_groups_and_no_more_than_there_is_room_for(sizes: list[int], share: float, seed: int) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    examples = max(1, int(share * len(groups)))
    dev = drawn_for_dev(groups, examples, seed)
    assert dev.any()
    assert not dev.all()
    assert not set(groups[dev]) & set(groups[~dev])
    assert dev.sum() <= max(examples, min(sizes))
    assert np.array_equal(dev, drawn_for_dev(groups, examples, seed))
    left_out = [sizes[group] for group in set(groups[~dev])]
    assert min(left_out) > examples - dev.sum()  # nothing more fits


def test_every_example_is_drawn_as_often_as_another() -> None:
    draws = [drawn_for_dev(np.arange(40), 8, seed) for seed in range(2_000)]
    assert {int(dev.sum()) for dev in draws} == {8}
    assert np.mean(draws, axis=0) == pytest.approx(0.2, abs=0.04)


def test_the_smallest_group_where_none_has_room() -> None:
    dev = drawn_for_dev(np.repeat([3, 5, 7], [4, 3, 6]), 2, seed=0)
    assert dev.tolist() == [False] * 4 + [True] * 3 + [False] * 6


def test_label_sets_one_after_another() -> None:
    first, second = [[0, 2], [], [1]], [[], [2], [0, 1, 2]]
    found = one_after_another(LabelSets.from_lists(first, 3), LabelSets.from_lists(second, 3))
    assert [found.indices[a:b].tolist() for a, b in zip(found.indptr, found.indptr[1:], strict=False)] == [
        *first,
        *second,
    ]
    assert found.num_labels == 3
