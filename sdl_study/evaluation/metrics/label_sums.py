"""Compiled loops over the positives of labels: what lies above each in its label's ranking, weighed by replicates.

numpy would pass over an array of positives x replicates a dozen times for what one loop does while it is at hand.
Integers count, so that every sum is exact and the order of the documents of a strip makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """A loop as machine code, without Python's lock. It is compiled once, unless neither this folder nor the user's
    cache can be written: then once a process."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        return njit(nogil=True)(function)


@compiled
def _levels(own: np.ndarray, score: float) -> int:
    """How many of falling scores [p] lie above a score."""
    low, high = 0, own.size
    while low < high:
        middle = (low + high) // 2
        if own[middle] > score:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def strips(
    by_label: Float[np.ndarray, "l n"], rows: Int[np.ndarray, " p"], first: Int[np.ndarray, " l+1"]
) -> tuple[Int[np.ndarray, " d"], Int[np.ndarray, " q"]]:
    """The documents that a label's positives cut its ranking into; those below its last positive are left out.

    Args:
        by_label: scores.
        rows: documents of the labels' positives, label by label and by falling score.
        first: place of each label's first positive, and the number of positives.

    Returns:
        documents: strip by strip. Strip 2i holds those that score higher than positive i and lower than the one before
            it on its label, strip 2i + 1 those of its score; of positives that tie, the first one's.
        starts: place of each strip's first document, and the number of documents.
    """
    ends = np.zeros(2 * rows.size + 1, np.int64)
    for label in range(by_label.shape[0]):
        own = by_label[label][rows[first[label] : first[label + 1]]]
        for score in by_label[label]:
            if score >= own[-1]:
                place = _levels(own, score)
                ends[2 * (first[label] + place) + (score == own[place]) + 1] += 1
    ends = np.cumsum(ends)
    documents, free = np.empty(ends[-1], np.int32), ends[:-1].copy()
    for label in range(by_label.shape[0]):
        own = by_label[label][rows[first[label] : first[label + 1]]]
        for document in range(by_label.shape[1]):
            score = by_label[label, document]
            if score >= own[-1]:
                place = _levels(own, score)
                strip = 2 * (first[label] + place) + (score == own[place])
                documents[free[strip]] = document
                free[strip] += 1
    return documents, ends


@compiled
def _add(sums: np.ndarray, weights: np.ndarray, documents: np.ndarray) -> None:
    """Add the weights [n, b] of some documents [d] to sums [b]."""
    for document in documents:
        for replicate in range(sums.size):
            sums[replicate] += weights[document, replicate]


@compiled
def sums_above(
    documents: Int[np.ndarray, " d"],
    starts: Int[np.ndarray, " q"],
    rows: Int[np.ndarray, " p"],
    first: Int[np.ndarray, " ends"],
    weights: UInt[np.ndarray, "n b"],
    ties: bool,
) -> tuple[Float[np.ndarray, "p b"], Float[np.ndarray, "p b"]]:
    """Weight of the documents above each positive, and of the positives among them; with ``ties`` of its score too.

    Args:
        documents, starts: of ``strips``.
        rows, first: as there.
        weights: of the documents, in each replicate.
        ties: whether what scores the same counts.
    """
    many = weights.shape[1]
    found, positives = np.empty((rows.size, many)), np.empty((rows.size, many))
    for label in range(first.size - 1):
        seen, of_them = np.zeros(many, np.uint32), np.zeros(many, np.uint32)
        place = first[label]
        while place < first[label + 1]:
            after = place + 1
            while after < first[label + 1] and starts[2 * after] == starts[2 * after + 2]:
                after += 1
            _add(seen, weights, documents[starts[2 * place] : starts[2 * place + 1]])
            tied, own = documents[starts[2 * place + 1] : starts[2 * place + 2]], rows[place:after]
            if ties:
                _add(seen, weights, tied)
                _add(of_them, weights, own)
            for positive in range(place, after):
                for replicate in range(many):
                    found[positive, replicate] = seen[replicate]
                    positives[positive, replicate] = of_them[replicate]
            if not ties:
                _add(seen, weights, tied)
                _add(of_them, weights, own)
            place = after
    return found, positives


@compiled
def weighted_sums(
    values: Float[np.ndarray, "p b"],
    rows: Int[np.ndarray, " p"],
    first: Int[np.ndarray, " ends"],
    weights: UInt[np.ndarray, "n b"],
) -> Float[np.ndarray, "l b"]:
    """Sum over each label's positives of their values, times their documents' weights."""
    sums = np.zeros((first.size - 1, weights.shape[1]))
    for label in range(first.size - 1):
        for positive in range(first[label], first[label + 1]):
            for replicate in range(weights.shape[1]):
                sums[label, replicate] += weights[rows[positive], replicate] * values[positive, replicate]
    return sums
