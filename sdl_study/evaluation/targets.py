"""Scores and labels in the one form that all metrics read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from sdl_study.losses import LabelSets

    Labels: TypeAlias = "LabelSets | np.ndarray | Tensor | Targets"
    Scores: TypeAlias = "np.ndarray | Tensor"


@dataclass(frozen=True, slots=True)
class Targets:
    """The positive cells of a label matrix, by row and then by column."""

    rows: Int[np.ndarray, " nnz"]
    columns: Int[np.ndarray, " nnz"]
    shape: tuple[int, int]

    @property
    def per_document(self) -> Int[np.ndarray, " n"]:
        """Number of labels of each document."""
        return np.bincount(self.rows, minlength=self.shape[0])

    @property
    def per_label(self) -> Int[np.ndarray, " L"]:
        """Number of documents that carry each label."""
        return np.bincount(self.columns, minlength=self.shape[1])

    def restrict(self, keep: Bool[np.ndarray, " L"]) -> Targets:
        """The same documents with some of the labels only, numbered anew."""
        inside = keep[self.columns]
        renumbered = np.cumsum(keep) - 1
        return Targets(
            self.rows[inside], renumbered[self.columns[inside]], (self.shape[0], int(np.count_nonzero(keep)))
        )


def as_array(values: Any) -> np.ndarray:
    """A numpy view of an array or of a tensor on any device."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def as_scores(scores: Scores) -> Float[np.ndarray, "n L"]:
    """Probabilities [n, L] as floating-point numbers, in the precision given.

    Raises:
        ValueError: not two-dimensional, empty, not finite, or outside [0, 1].
    """
    array = as_array(scores)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"scores must be [n, L] with n, L > 0, not {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("scores hold values that are not finite (NaN or infinity)")
    if low < 0 or high > 1:
        raise ValueError(f"scores must be probabilities; found values from {low:g} to {high:g}")
    return array


def as_targets(labels: Labels, shape: tuple[int, int]) -> Targets:
    """Positive cells of label sets (CSR) or of a multi-hot matrix [n, L].

    Raises:
        ValueError: another shape than the scores, or a cell that is neither 0 nor 1.
    """
    if isinstance(labels, Targets):
        if labels.shape != shape:
            raise ValueError(f"labels are {labels.shape}, the scores {shape}")
        return labels
    indptr = getattr(labels, "indptr", None)
    if indptr is not None:
        sets: Any = labels
        indptr = as_array(indptr).astype(np.int64)
        found = (len(indptr) - 1, int(sets.num_labels))
        rows = np.repeat(np.arange(found[0]), np.diff(indptr))
        columns = as_array(sets.indices).astype(np.int64)
    else:
        matrix = as_array(labels)
        found = matrix.shape
        rows, columns = np.nonzero(matrix)
        if matrix.dtype != np.bool_ and not (matrix[rows, columns] == 1).all():
            raise ValueError("labels must be 0 or 1")
    if found != shape:
        raise ValueError(f"labels are {found}, the scores {shape}")
    return Targets(rows, columns, shape)


def as_pair(scores: Scores, labels: Labels) -> tuple[Float[np.ndarray, "n L"], Targets]:
    """Checked scores and labels of the same shape."""
    array = as_scores(scores)
    return array, as_targets(labels, (array.shape[0], array.shape[1]))
