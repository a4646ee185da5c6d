"""What a metric computes of one unit: of a label, of a document, or of all cells together.

Each statistic is written once. It reads counts or ranks, and these may be counted (a value per unit) or weighed
by documents, for many replicates at once (a row of units per replicate, or a value per replicate).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

    Values: TypeAlias = np.ndarray | np.float64


@dataclass(frozen=True, slots=True)
class Counts:
    """Cells of each unit: positives that are predicted, predictions, positives, and all cells."""

    hits: Shaped[np.ndarray, "*units"]
    predicted: Shaped[np.ndarray, "*units"]
    positives: Shaped[np.ndarray, "*units"]
    cells: Shaped[np.ndarray, "*units"]


class Ranks(Protocol):
    """How the positives of each unit rank among its cells."""

    @property
    def positives(self) -> np.ndarray:
        """Positives of each unit."""
        ...

    @property
    def negatives(self) -> np.ndarray:
        """Negatives of each unit."""
        ...

    @property
    def outranked(self) -> np.ndarray:
        """Sum over the positives of each unit of the negatives that score lower; those of the same score by half."""
        ...


class FullRanks(Ranks, Protocol):
    """Ranks that also know what scores at least as high as each positive."""

    @property
    def precision_total(self) -> np.ndarray:
        """Sum over the positives of each unit of the share of positives among the cells that score the same or
        higher."""
        ...


def divide(numerator: Values, denominator: Values) -> Float[np.ndarray, "*units"]:
    """0 where the denominator is 0, as precision, recall and F1 are defined."""
    found = np.zeros_like(numerator, dtype=np.float64)
    return np.divide(numerator, denominator, out=found, where=denominator > 0)


def hits(counts: Counts) -> np.ndarray:
    """Positives that are predicted."""
    return counts.hits


def predicted(counts: Counts) -> np.ndarray:
    """Predictions."""
    return counts.predicted


def precision(counts: Counts) -> np.ndarray:
    """Share of the predictions that are right; 0 where nothing is predicted."""
    return divide(counts.hits, counts.predicted)


def recall(counts: Counts) -> np.ndarray:
    """Share of the positives that are predicted; 0 where there is none."""
    return divide(counts.hits, counts.positives)


def f1(counts: Counts) -> np.ndarray:
    """Harmonic mean of both; 0 where nothing is predicted or positive."""
    return divide(2 * counts.hits, counts.predicted + counts.positives)


def wrong(counts: Counts) -> np.ndarray:
    """Share of the cells that are predicted wrong."""
    return divide(counts.predicted + counts.positives - 2 * counts.hits, counts.cells)


def exact(counts: Counts) -> np.ndarray:
    """1 where every cell is predicted right, else 0."""
    right = (counts.hits == counts.predicted) & (counts.hits == counts.positives)
    return right.astype(np.float64)


def average_precision(ranks: FullRanks) -> np.ndarray:
    """Non-interpolated: mean over positives of the precision at their score; NaN without a positive.

    Tied scores enter together, as in scikit-learn's ``average_precision_score``.
    """
    with np.errstate(invalid="ignore"):
        return ranks.precision_total / ranks.positives


def roc_auc(ranks: Ranks) -> np.ndarray:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN without both classes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return ranks.outranked / (ranks.positives * ranks.negatives)


def harmonic(first: Values, second: Values) -> np.ndarray:
    """2ab/(a + b), 0 where both are 0, NaN where they are undefined."""
    return np.where(np.isnan(first), first, divide(2 * first * second, first + second))


def mean(values: np.ndarray) -> np.float64:
    """Mean over the units that define the statistic, i.e. are not NaN; NaN where none does."""
    known = values[~np.isnan(values)]
    return np.float64(known.mean() if known.size else np.nan)
