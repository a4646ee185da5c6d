"""Decision thresholds, chosen on dev: a label is predicted where its score is above the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from sdl_study.evaluation.targets import Targets, as_pair

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from sdl_study.evaluation.targets import Labels, Scores

GRID: Float[np.ndarray, " t"] = np.linspace(0.0, 1.0, 100)
_CHUNK_CELLS = 1 << 24


def as_threshold(threshold: float | np.ndarray, num_labels: int) -> Float[np.ndarray, "..."]:
    """One threshold, or one for each label [L], as float64.

    Raises:
        ValueError: neither one number nor one per label, or NaN, above which no score lies.
    """
    limit = np.asarray(threshold, dtype=np.float64)
    if limit.ndim > 1 or (limit.ndim == 1 and limit.shape[0] != num_labels):
        raise ValueError(
            f"threshold has shape {limit.shape}; expected one number or one for each of the labels"
        )
    if np.isnan(limit).any():
        raise ValueError("threshold is not a number (NaN); tune_threshold chooses one on dev")
    return limit


def above(scores: Float[np.ndarray, "n L"], threshold: float | np.ndarray) -> Bool[np.ndarray, "n L"]:
    """Predictions, compared in float64: a float32 threshold would move a score that lies exactly on it.

    Raises:
        ValueError: as ``as_threshold``.
    """
    limit = as_threshold(threshold, scores.shape[1])
    return scores > (limit if limit.ndim else np.float64(limit))


@overload
def tune_threshold(
    scores: Scores, labels: Labels, *, per_label: Literal[False] = False, grid: np.ndarray = GRID
) -> float: ...


@overload
def tune_threshold(
    scores: Scores, labels: Labels, *, per_label: Literal[True], grid: np.ndarray = GRID
) -> np.ndarray: ...


def tune_threshold(
    scores: Scores, labels: Labels, *, per_label: bool = False, grid: np.ndarray = GRID
) -> float | np.ndarray:
    """The threshold that maximises F1 on these (dev) scores; of equal ones the smallest.

    Global: one value that maximises micro-F1. ``per_label``: one value for each label that maximises its own
    F1; labels without a positive get the global one, since any choice would be as good.

    Args:
        scores: probabilities [n, L].
        labels: label sets or a multi-hot matrix [n, L].
        grid: rising candidate values.

    Raises:
        ValueError: scores that are no probabilities, labels of another shape, or a grid that is empty, falls
            or holds NaN.
    """
    grid = np.asarray(grid, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or np.isnan(grid).any() or (np.diff(grid) < 0).any():
        raise ValueError("grid must be a list of rising numbers, at least one and none of them NaN")
    array, targets = as_pair(scores, labels)
    predicted, hits = _counts_above(array, targets, grid, per_label=per_label)
    positives = targets.per_label
    best = int(np.argmax(_f1(hits.sum(axis=0), predicted.sum(axis=0), positives.sum())))
    if not per_label:
        return float(grid[best])
    own = np.argmax(_f1(hits, predicted, positives[:, None]), axis=1)
    return np.where(positives > 0, grid[own], grid[best])


def _f1(hits: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
    return 2.0 * hits / np.maximum(predicted + positives, 1)


def _counts_above(
    scores: Float[np.ndarray, "n L"], targets: Targets, grid: Float[np.ndarray, " t"], *, per_label: bool
) -> tuple[Int[np.ndarray, "l t"], Int[np.ndarray, "l t"]]:
    """Predictions and true positives at every grid value, by label or (one row) of all labels together."""
    count, width = scores.shape
    bins = grid.size + 1
    groups = width if per_label else 1
    predicted = np.zeros(groups * bins, dtype=np.int64)
    offsets = np.arange(width) * bins if per_label else np.zeros(width, dtype=np.int64)
    step = max(1, _CHUNK_CELLS // width)
    # The bin of a score is the number of grid values below it, i.e. of thresholds that it passes. Most scores of many
    # labels pass the first alone or none, and need no search.
    lowest = grid[: min(2, grid.size)]
    for start in range(0, count, step):
        part = scores[start : start + step]
        passes = part > lowest[-1]
        bin_of = np.searchsorted(grid, part[passes], side="left")
        if per_label:
            bin_of += offsets[np.nonzero(passes)[1]]
        predicted += np.bincount(bin_of, minlength=groups * bins)
        if lowest.size > 1:
            first_alone = (part > lowest[0]).sum(axis=0) - passes.sum(axis=0)
            predicted[1::bins] += first_alone if per_label else first_alone.sum()
    values = scores[targets.rows, targets.columns]
    hit_bin = np.searchsorted(grid, values, side="left") + offsets[targets.columns]
    hits = np.bincount(hit_bin, minlength=groups * bins)
    return _passed(predicted, groups, bins), _passed(hits, groups, bins)


def _passed(histogram: np.ndarray, groups: int, bins: int) -> Int[np.ndarray, "l t"]:
    """From "passes exactly b thresholds" to "passes threshold t": sum over b > t."""
    by_group = histogram.reshape(groups, bins)
    return by_group[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
