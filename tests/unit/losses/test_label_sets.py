"""Label sets: the same sets in every form, cheap rows, refused mistakes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdl_study.losses import LabelSets

rows_of_sets = st.lists(st.sets(st.integers(0, 8)), max_size=9)


@given(rows=rows_of_sets)
def test_forms_hold_the_same_sets(rows: list[set[int]]) -> None:
    sets = LabelSets.from_lists(rows, 9)
    dense = sets.to_multi_hot(torch.float64)
    assert dense.shape == (len(rows), 9)
    assert [set(row.tolist()) for row in sets] == rows
    assert [set(torch.nonzero(row).flatten().tolist()) for row in dense] == rows
    for dtype in (torch.bool, torch.int64, torch.float16):
        assert LabelSets.from_multi_hot(dense.to(dtype)) == sets
    assert sets.sizes.tolist() == [len(row) for row in rows]
    assert sets.counts().tolist() == [sum(label in row for row in rows) for label in range(9)]


@given(rows=st.lists(st.sets(st.integers(0, 8)), min_size=1, max_size=9), data=st.data())
def test_rows_are_chosen_like_a_lists(rows: list[set[int]], data: st.DataObject) -> None:
    sets = LabelSets.from_lists(rows, 9)
    chosen = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1), max_size=12))
    expected = LabelSets.from_lists([rows[i] for i in chosen], 9)
    assert sets[np.array(chosen, dtype=np.int32)] == expected
    assert sets[torch.tensor(chosen, dtype=torch.int64)] == expected
    start, stop, step = data.draw(st.tuples(*[st.integers(-10, 10)] * 2, st.sampled_from([1, 2, -1])))
    assert sets[start:stop:step] == LabelSets.from_lists(rows[start:stop:step], 9)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert sets[mask] == LabelSets.from_lists([row for row, keep in zip(rows, mask, strict=True) if keep], 9)
    assert sets.repeat_interleave(2) == LabelSets.from_lists([row for row in rows for _ in range(2)], 9)


def test_pickles_and_names_rows() -> None:
    sets = LabelSets.from_lists([[3, 0, 3], []], 5)
    assert pickle.loads(pickle.dumps(sets)) == sets  # noqa: S301  our own bytes
    assert sets.row(0).tolist() == [0, 3]
    assert sets.row(-1).tolist() == []
    assert repr(sets) == "LabelSets(2 samples, 2 entries, 5 labels)"
    with pytest.raises(IndexError):
        sets.row(2)
    with pytest.raises(TypeError, match=r"\.row"):
        sets[np.zeros((1, 1), dtype=int)]


@pytest.mark.parametrize(
    ("indptr", "indices", "num_labels", "message"),
    [
        ([0, 1, 2], [0, 5], 5, "row 1 has label index 5; allowed are 0…4"),
        ([0, 1], [-1], 5, "row 0 has label index -1"),
        ([0, 2], [3, 1], 5, "row 0 is not strictly ascending"),
        ([0, 0, 2], [1, 1], 5, "row 1 is not strictly ascending"),
        ([0, 3], [0, 1], 5, "indptr must rise"),
        ([1, 2], [0, 1], 5, "indptr must rise"),
        ([0, 2, 1], [0], 5, "indptr must rise"),
        ([0], [], 0, "at least one label"),
        ([], [], 5, "must be"),
    ],
)
def test_refuses_what_does_not_fit(indptr: list, indices: list, num_labels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSets(indptr, indices, num_labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, 0.5]]), "row 1, label 1 is 0.5"),
        (torch.tensor([[0, 2]]), "row 0, label 1 is 2"),
        (torch.tensor([[float("nan")]]), "row 0, label 0 is nan"),
        (torch.zeros(3), "shape"),
    ],
)
def test_multi_hot_is_zeros_and_ones(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSets.from_multi_hot(labels)
