"""Label sets of many samples in compressed sparse rows (CSR)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Int64, Num


class LabelSets:
    """One set of label indices per sample, stored as CSR; immutable, cheap to slice and to pickle.

    Row i holds `indices[indptr[i]:indptr[i + 1]]`, ascending and without repetition. An empty row is a sample
    without labels.

    Args:
        indptr: [N + 1] row boundaries, starting at 0.
        indices: [nnz] label indices, ascending within each row.
        num_labels: size of the label list, L.

    Raises:
        ValueError: boundaries that do not fit, an index outside 0…L-1, or a row that is not ascending; the
            message names the row.
    """

    __slots__ = ("indices", "indptr", "num_labels")

    def __init__(self, indptr: Any, indices: Any, num_labels: int) -> None:
        self.indptr: Int64[np.ndarray, " N+1"] = np.ascontiguousarray(indptr, dtype=np.int64)
        self.indices: Int64[np.ndarray, " nnz"] = np.ascontiguousarray(indices, dtype=np.int64)
        self.num_labels = int(num_labels)
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
        """From one iterable of label indices per sample, in any order; an index named twice counts once."""
        sets = [np.unique(np.asarray(list(row), dtype=np.int64)) for row in rows]
        indptr = np.concatenate([[0], np.cumsum([len(s) for s in sets], dtype=np.int64)])
        indices = np.concatenate(sets) if sets else np.empty(0, dtype=np.int64)
        return cls(indptr, indices, num_labels)

    @classmethod
    def from_multi_hot(cls, labels: Num[Tensor, "N L"]) -> LabelSets:
        """From a [N, L] tensor of zeros and ones, of any dtype and on any device.

        Raises:
            ValueError: not two-dimensional, or a value that is neither 0 nor 1 (with its row).
        """
        if labels.ndim != 2:
            raise ValueError(f"labels: multi-hot labels are [N, L], got shape {tuple(labels.shape)}")
        entries = labels.detach().nonzero()
        if labels.dtype != torch.bool:
            wrong = labels.detach()[entries[:, 0], entries[:, 1]] != 1
            if bool(wrong.any()):
                row, column = entries[int(wrong.to(torch.uint8).argmax())].tolist()
                value = labels[row, column].item()
                raise ValueError(f"labels: row {row}, label {column} is {value}; multi-hot labels are 0 or 1")
        row_of, column_of = entries.cpu().numpy().T
        sizes = np.bincount(row_of, minlength=labels.shape[0])
        indptr = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return cls._trusted(indptr, np.ascontiguousarray(column_of), int(labels.shape[1]))

    def to_multi_hot(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Num[Tensor, "N L"]:
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
        """The sample that each entry of `indices` belongs to."""
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
        """Every row `repeats` times in succession (the views of one sample)."""
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
