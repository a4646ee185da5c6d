"""Label sets: the same sets in every form, cheap rows, refused mistakes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdl_study.losses import AnyLoss, LabelSets

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


class Sparse:
    """Stands for a matrix of scipy.sparse: it knows CSR, and its rows are matrices again."""

    def tocsr(self) -> None: ...

    def __iter__(self) -> Iterator[Sparse]:
        return iter([self])


class Table:
    """Stands for a data frame: going through it gives the names of its columns."""

    columns = ("a", "b")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


MULTI_HOT = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "num_labels", "message"),
    [
        (MULTI_HOT.tolist(), 5, "row 0 and all others are 5 zeros and ones.*from_multi_hot"),
        (MULTI_HOT, 5, "from_multi_hot"),
        (MULTI_HOT.numpy(), 5, "from_multi_hot"),
        (MULTI_HOT.to(torch.uint8), 5, "from_multi_hot"),
        (MULTI_HOT.float().tolist(), 5, "row 0 holds 1.0; label indices are whole numbers"),
        (MULTI_HOT.float(), 5, "row 0 holds 1.0"),
        (MULTI_HOT.bool(), 5, "row 0 holds True"),
        (MULTI_HOT.bool().numpy(), 5, "row 0 holds True"),
        (MULTI_HOT.to_sparse(), 5, "given a Tensor; .* to LabelSets.from_multi_hot"),
        ([[0, 0]], 2, "2 zeros and ones"),
        ([[1, 0], [1, 1]], 2, "2 zeros and ones"),
        ([[0], [True, False]], 2, "row 1 holds True"),
        ([[0], [np.bool_(True)]], 2, "row 1 holds True"),
        ([[0], [torch.tensor(True)]], 2, "row 1 holds a value of type Tensor"),
        ([[0.9], [1.7]], 2, "row 0 holds 0.9"),
        ([[0], [0.5]], 2, "row 1 holds 0.5"),
        ([[0], [1.0]], 2, "row 1 holds 1.0"),
        ([[0], [math.nan]], 2, "row 1 holds nan"),
        ([[0], np.array([0.5])], 2, "row 1 holds 0.5"),
        ([[0], [None]], 2, "row 1 holds None"),
        ([[0], ["1"]], 2, "row 1 holds a value of type str"),
        ([[0], [[0, 1]]], 2, "row 1 holds a value of type list"),
        (np.array([[0, "1"], [1, 0]], dtype=object), 3, "row 0 holds a value of type str"),
        ([[0], None], 2, "row 1 is None"),
        ([[0], 1], 2, "row 1 is 1; a row is a list"),
        ([0, 1], 2, "row 0 is 0; a row is a list"),
        (torch.tensor([0, 1]), 2, "row 0 is a value of type ndarray"),
        (torch.zeros(2, 2, 2, dtype=torch.int64), 2, "row 0 is a value of type ndarray"),
        ([[0], "01"], 2, "row 1 is a value of type str"),
        ([[0], b"01"], 2, "row 1 is a value of type bytes"),
        ("01", 2, "given a str"),
        (None, 2, "given a NoneType"),
        (Sparse(), 2, "given a Sparse; .* of a CSR matrix"),
        (Table(), 2, "given a Table; give one list"),
        ([[0], [-1]], 2, "row 1 has label index -1"),
        ([[0], [2]], 2, "row 1 has label index 2; allowed are 0…1"),
        ([[0], [2**70]], 2, "row 1 has a label index beyond 64 bits"),
        ([[0]], True, "num_labels is True"),
        ([[0]], 2.5, "num_labels is 2.5"),
        ([[0]], "2", "num_labels is '2'"),
        ([[0]], 0, "at least one label"),
    ],
)
def test_what_is_no_list_of_label_indices_is_refused(rows: Any, num_labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSets.from_lists(rows, num_labels)


@pytest.mark.parametrize(
    ("rows", "num_labels", "expected"),
    [
        ([[0, 1], [1, 0]], 2, [[0, 1], [0, 1]]),  # both labels, in any order
        ([[0], [0]], 1, [[0], [0]]),
        ([[0, 0, 1], [2]], 3, [[0, 1], [2]]),  # one row looks like zeros and ones, the other does not
        ([[0, 0, 1], [1, 1, 0]], 2, [[0, 1], [0, 1]]),  # longer than the label list
        ([[1, 0], [0, 0]], 5, [[0, 1], [0]]),
        ([[0, 2, 2], [1, 1, 0]], 3, [[0, 2], [0, 1]]),
        ([[], []], 3, [[], []]),
        ([], 3, []),
        ([range(2), {2}, (np.int32(1),), np.array([2, 0], dtype=np.uint8)], 3, [[0, 1], [2], [1], [0, 2]]),
        ([torch.tensor([2, 1]), [torch.tensor(0)], np.array([], dtype=np.int64)], 3, [[1, 2], [0], []]),
        ((iter([label]) for label in (0, 2)), np.int64(3), [[0], [2]]),
        (np.array([[0, 2], [1, 2]], dtype=object), 3, [[0, 2], [1, 2]]),
    ],
)
def test_lists_that_may_be_meant_are_read(rows: Any, num_labels: Any, expected: list[list[int]]) -> None:
    assert [row.tolist() for row in LabelSets.from_lists(rows, num_labels)] == expected


@pytest.mark.parametrize("values", [[0.9], [True], ["0"], [None]])
def test_parts_of_other_kinds_are_not_rounded(values: list) -> None:
    with pytest.raises(ValueError, match="whole numbers are needed"):
        LabelSets([0, 1], values, 2)
    with pytest.raises(ValueError, match="indptr are"):
        LabelSets(values * 2, [0], 2)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_multi_hot_holds_the_same_sets(layout: str, dtype: torch.dtype) -> None:
    dense = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0]]).to(dtype)
    block = [(2, 2)] if layout.startswith("b") else []  # its blocks store zeros as well
    sparse = getattr(dense, f"to_sparse_{layout}")(*block)
    assert LabelSets.from_multi_hot(sparse) == LabelSets.from_multi_hot(dense)
    rows = torch.nn.functional.normalize(torch.arange(8.0).view(4, 2), dim=1)
    assert float(AnyLoss()(rows, sparse)) == float(AnyLoss()(rows, dense))


def _stored(rows: list[int], columns: list[int], values: list[float]) -> torch.Tensor:
    """A sparse [2, 2] matrix that stores these entries."""
    return torch.sparse_coo_tensor(torch.tensor([rows, columns]), torch.tensor(values), (2, 2))


def test_an_empty_sparse_batch_has_no_sets() -> None:
    assert len(LabelSets.from_multi_hot(torch.zeros(0, 3).to_sparse())) == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (_stored([1], [0], [0.5]), "row 1, label 0 is 0.5"),
        (_stored([1], [0], [math.nan]), "row 1, label 0 is nan"),
        (_stored([0, 0], [1, 1], [1.0, 1.0]), "row 0, label 1 is 2.0"),
        (torch.eye(3).to_sparse(1), "layout torch.sparse_coo are not read"),
        (torch.zeros(2, 2, 2).to_sparse(), "shape"),
    ],
)
def test_sparse_multi_hot_is_zeros_and_ones(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSets.from_multi_hot(labels)
    with pytest.raises(ValueError, match=message):
        AnyLoss()(torch.ones(len(labels), 2), labels)


@pytest.mark.parametrize("labels", [[[0, 1]], np.eye(2), None, Sparse(), Table()])
def test_multi_hot_is_a_tensor(labels: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a tensor, not {type(labels).__name__}"):
        LabelSets.from_multi_hot(labels)
