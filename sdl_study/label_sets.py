"""Label sets of many samples in compressed sparse rows (CSR)."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Int64, Shaped


_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


class LabelSets:
    """One set of label indices per sample, stored as CSR; immutable, cheap to slice and to pickle.

    Row i holds ``indices[indptr[i]:indptr[i + 1]]``, ascending and without repetition. An empty row is a sample
    without labels.

    Args:
        indptr: [N + 1] row boundaries, starting at 0.
        indices: [nnz] label indices, ascending within each row.
        num_labels: size of the label list, L.

    Raises:
        ValueError: boundaries that do not fit, an index outside 0…L-1, or a row that is not ascending (the
            message names the row); boundaries or indices that are not whole numbers.
    """

    __slots__ = ("indices", "indptr", "num_labels")

    def __init__(self, indptr: Any, indices: Any, num_labels: int) -> None:
        self.indptr: Int64[np.ndarray, " N+1"] = _whole_numbers("indptr", indptr)
        self.indices: Int64[np.ndarray, " nnz"] = _whole_numbers("indices", indices)
        self.num_labels = _number_of_labels(num_labels)
        self._check()

    def _check(self) -> None:
        if self.num_labels < 1:
            raise ValueError(f"num_labels is {self.num_labels}; a label list has at least one label")
        if self.indptr.ndim != 1 or self.indices.ndim != 1 or self.indptr.size == 0:
            raise ValueError(
                f"indptr {self.indptr.shape} and indices {self.indices.shape} must be [N + 1], [nnz]"
            )
        sizes = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or (sizes < 0).any():
            raise ValueError(f"indptr must rise from 0 to nnz = {self.indices.size}")
        outside = (self.indices < 0) | (self.indices >= self.num_labels)
        if outside.any():
            at = int(outside.argmax())
            row = int(np.searchsorted(self.indptr, at, side="right")) - 1
            raise ValueError(
                f"labels: row {row} has label index {self.indices[at]}; allowed are 0…{self.num_labels - 1}"
            )
        if self.indices.size > 1:
            falls = np.diff(self.indices) <= 0
            starts = self.indptr[1:-1]
            falls[starts[(starts > 0) & (starts < self.indices.size)] - 1] = False
            if falls.any():
                row = int(np.searchsorted(self.indptr, int(falls.argmax()), side="right")) - 1
                raise ValueError(f"labels: row {row} is not strictly ascending")

    @classmethod
    def _trusted(cls, indptr: np.ndarray, indices: np.ndarray, num_labels: int) -> LabelSets:
        """Build from arrays that come out of a checked instance, without checking again."""
        made = cls.__new__(cls)
        made.indptr, made.indices, made.num_labels = indptr, indices, num_labels
        return made

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[int]], num_labels: int) -> LabelSets:
        """From one iterable of label indices per sample, in any order; an index named twice counts once.

        Raises:
            ValueError: what is no list of label indices (truth values, fractions, text, None, nested lists), rows
                that are all zeros and ones as long as the label list (multi-hot), or an index outside 0…L-1; the
                message names the row.
        """
        num_labels = _number_of_labels(num_labels)
        lists = [_label_indices(number, row) for number, row in enumerate(_rows_of(rows))]
        sets = [np.unique(row) for row in lists]
        if _look_multi_hot(lists, sets, num_labels):
            raise ValueError(
                f"labels: row 0 and all others are {num_labels} zeros and ones, as many as there are labels: "
                "multi-hot; give them to LabelSets.from_multi_hot as a tensor"
            )
        indptr = np.concatenate([[0], np.cumsum([len(s) for s in sets], dtype=np.int64)])
        indices = np.concatenate(sets) if sets else np.empty(0, dtype=np.int64)
        return cls(indptr, indices, num_labels)

    @classmethod
    def from_multi_hot(cls, labels: Shaped[Tensor, "N L"]) -> LabelSets:
        """From a [N, L] tensor of zeros and ones, of any dtype, on any device, dense or sparse.

        Raises:
            TypeError: not a tensor.
            ValueError: not two-dimensional, of a layout that holds no single entries, or a value that is neither
                0 nor 1 (with its row).
        """
        if not isinstance(labels, Tensor):
            raise TypeError(f"multi-hot labels must be a tensor, not {type(labels).__name__}")
        if labels.ndim != 2:
            raise ValueError(f"labels: multi-hot labels are [N, L], got shape {tuple(labels.shape)}")
        rows, columns, values = _entries(labels.detach())
        if values is not None:
            wrong = values != 1
            if bool(wrong.any()):
                at = int(wrong.to(torch.uint8).argmax())
                raise ValueError(
                    f"labels: row {int(rows[at])}, label {int(columns[at])} is {values[at].item()}; "
                    "multi-hot labels are 0 or 1"
                )
        sizes = np.bincount(rows.cpu().numpy(), minlength=labels.shape[0])
        indptr = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        indices = np.ascontiguousarray(columns.cpu().numpy())
        return cls._trusted(indptr, indices, int(labels.shape[1]))

    def to_multi_hot(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Shaped[Tensor, "N L"]:
        """The dense [N, L] form."""
        dense = torch.zeros((len(self), self.num_labels), dtype=dtype, device=device)
        rows = torch.from_numpy(self.row_of_entry()).to(device)
        dense[rows, torch.from_numpy(self.indices).to(device)] = 1
        return dense

    @property
    def sizes(self) -> Int64[np.ndarray, " N"]:
        """Number of labels of each sample."""
        return np.diff(self.indptr)

    def counts(self) -> Int64[np.ndarray, " L"]:
        """Number of samples that carry each label."""
        return np.bincount(self.indices, minlength=self.num_labels)

    def row_of_entry(self) -> Int64[np.ndarray, " nnz"]:
        """The sample that each entry of ``indices`` belongs to."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def row(self, index: int) -> Int64[np.ndarray, " S"]:
        """The label indices of one sample, ascending."""
        index = range(len(self))[index]
        return self.indices[self.indptr[index] : self.indptr[index + 1]]

    def __len__(self) -> int:
        return self.indptr.size - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.row(i) for i in range(len(self)))

    def __getitem__(self, rows: Any) -> LabelSets:
        """The label sets of some rows, in the order asked: a slice, or an integer or boolean array."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                bounds = self.indptr[start : stop + 1]
                chosen = self.indices[bounds[0] : bounds[-1]]
                return self._trusted(bounds - bounds[0], chosen, self.num_labels)
            rows = np.arange(start, stop, step)
        elif isinstance(rows, Tensor):
            rows = rows.detach().cpu().numpy()
        rows = np.asarray(rows)
        if rows.ndim != 1:
            raise TypeError(
                "label sets are indexed by a slice or a one-dimensional array; use .row(i) for one row"
            )
        rows = np.arange(len(self))[rows.astype(np.int64) if rows.size == 0 else rows]
        sizes = self.sizes[rows]
        indptr = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], sizes)
        return self._trusted(indptr, self.indices[entries], self.num_labels)

    def repeat_interleave(self, repeats: int) -> LabelSets:
        """Every row ``repeats`` times in succession (the views of one sample)."""
        return self[np.repeat(np.arange(len(self)), repeats)]

    def __getstate__(self) -> tuple[np.ndarray, np.ndarray, int]:
        return self.indptr, self.indices, self.num_labels

    def __setstate__(self, state: tuple[np.ndarray, np.ndarray, int]) -> None:
        self.indptr, self.indices, self.num_labels = state

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelSets)
            and self.num_labels == other.num_labels
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.indices, other.indices)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LabelSets({len(self)} samples, {self.indices.size} entries, {self.num_labels} labels)"


def _number_of_labels(value: Any) -> int:
    """L as a number; it is at least 1."""
    number = _whole(value)
    if number is None:
        raise ValueError(f"num_labels is {value!r}; it must be a whole number")
    if number < 1:
        raise ValueError(f"num_labels is {number}; a label list has at least one label")
    return number


def _whole(value: Any) -> int | None:
    """A whole number as an int; None for truth values, fractions (1.0 too), text and all else."""
    if isinstance(value, bool | np.bool_) or (isinstance(value, Tensor) and value.dtype == torch.bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _whole_numbers(name: str, values: Any) -> Int64[np.ndarray, " n"]:
    """An array of whole numbers as int64; another kind would be rounded or read as 0 and 1."""
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iu":
        raise ValueError(f"labels: {name} are {found.dtype}; whole numbers are needed")
    return np.ascontiguousarray(found, dtype=np.int64)


def _rows_of(rows: Any) -> Iterable[Any]:
    """The rows to go through; text, tables and sparse matrices, which give other things one by one, are refused."""
    sparse = hasattr(rows, "tocsr") or (isinstance(rows, Tensor) and rows.layout != torch.strided)
    wrong = sparse or hasattr(rows, "columns") or isinstance(rows, str | bytes)
    if wrong or not isinstance(rows, Iterable):
        raise ValueError(
            f"labels: from_lists was given a {type(rows).__name__}; give one list of label indices per row, "
            "LabelSets(indptr, indices, L) of a CSR matrix, or a multi-hot tensor to LabelSets.from_multi_hot"
        )
    return rows


def _label_indices(number: int, row: Any) -> Int64[np.ndarray, " n"]:
    """One row's label indices as they were given, repetitions too. Errors tell kinds, never the row's text."""
    if isinstance(row, Tensor):
        row = row.detach().cpu().numpy()
    if isinstance(row, str | bytes) or not isinstance(row, Iterable) or getattr(row, "ndim", 1) != 1:
        raise ValueError(
            f"labels: row {number} is {_described(row)}; a row is a list of label indices, [] without labels"
        )
    if isinstance(row, np.ndarray) and row.dtype.kind in "iu":
        return row.astype(np.int64)
    entries = list(row)
    if not set(map(type, entries)) <= {int}:
        for entry in entries:
            if _whole(entry) is None:
                raise ValueError(
                    f"labels: row {number} holds {_described(entry)}; label indices are whole numbers "
                    "(zeros and ones per label are for LabelSets.from_multi_hot)"
                )
    try:
        return np.array([operator.index(entry) for entry in entries], dtype=np.int64)
    except OverflowError:
        raise ValueError(f"labels: row {number} has a label index beyond 64 bits") from None


def _described(value: Any) -> str:
    """A value in an error: numbers as they are, anything else by its kind."""
    shown = isinstance(value, bool | int | float | np.bool_ | np.number)
    return f"{value}" if value is None or shown else f"a value of type {type(value).__name__}"


def _look_multi_hot(lists: list[np.ndarray], sets: list[np.ndarray], num_labels: int) -> bool:
    """Whether rows can only be meant as zeros and ones per label.

    All are as long as the label list and hold 0 and 1 alone, and one at least repeats itself, which a list of
    indices as long as the label list has no reason to do. [[0, 1], [1, 0]] of two labels may be either, and is
    read as indices.
    """
    return (
        bool(lists)
        and all(len(row) == num_labels for row in lists)
        and any(len(row) > len(distinct) for row, distinct in zip(lists, sets, strict=True))
        and all(int(distinct[0]) >= 0 and int(distinct[-1]) <= 1 for distinct in sets)
    )


def _entries(labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows, columns and values (None for truth values) of the entries that are not 0, by row and column."""
    if labels.layout == torch.strided:
        rows, columns = labels.nonzero().unbind(1)
        return rows, columns, None if labels.dtype == torch.bool else labels[rows, columns]
    if labels.layout not in _SPARSE or labels.dense_dim() > 0:
        raise ValueError(f"labels: multi-hot labels of layout {labels.layout} are not read; make them dense")
    coo = labels.to_sparse_coo().coalesce()  # as in the dense form, an entry that is stored twice is the sum
    values = coo.values()
    rows, columns = coo.indices()[:, values != 0]
    return rows, columns, None if values.dtype == torch.bool else values[values != 0]
