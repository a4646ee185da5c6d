"""Compiled loops over the positives of labels, in the order of their label's ranking, weighed by replicates.

numpy would pass over an array of positives x replicates a dozen times for what one loop does while it is at hand.
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
def _strips_of(scores: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The documents [d] of one label's strips and the size of each [2p], from all scores and the positives'."""
    strip, above, found = np.empty(scores.size, np.int64), np.empty(scores.size, np.int32), 0
    sizes = np.zeros(2 * own.size, np.int64)
    for document in range(scores.size):
        score = scores[document]
        if score >= own[-1]:
            place = _levels(own, score)
            strip[found], above[found] = 2 * place + (score == own[place]), document
            sizes[strip[found]] += 1
            found += 1
    free, documents = np.cumsum(sizes) - sizes, np.empty(found, np.int32)
    for number in range(found):
        documents[free[strip[number]]] = above[number]
        free[strip[number]] += 1
    return documents, sizes


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
    sizes, documents, many = np.zeros(2 * rows.size + 1, np.int64), np.empty(by_label.size, np.int32), 0
    for label in range(by_label.shape[0]):
        scores = by_label[label]
        found, of_strips = _strips_of(scores, scores[rows[first[label] : first[label + 1]]])
        documents[many : many + found.size] = found
        many += found.size
        sizes[2 * first[label] + 1 : 2 * first[label + 1] + 1] = of_strips
    return documents[:many].copy(), np.cumsum(sizes)


@compiled
def _add(sums: np.ndarray, weights: np.ndarray, documents: np.ndarray) -> None:
    """Add the weights [n, b] of some documents [d] to sums [b]."""
    for document in documents:
        for replicate in range(sums.size):
            sums[replicate] += weights[document, replicate]


@compiled
def sums_by_label(
    documents: Int[np.ndarray, " d"],
    starts: Int[np.ndarray, " q"],
    rows: Int[np.ndarray, " p"],
    first: Int[np.ndarray, " ends"],
    weights: UInt[np.ndarray, "n b"],
) -> Float[np.ndarray, "3 l b"]:
    """Of each label in each replicate: the weight of its positives; the sum over them, weighed, of the share of
    positives among the documents that score at least as high; and that of the weight of the negatives that score
    higher, those of the same score by half.

    Args:
        documents, starts: of ``strips``.
        rows, first: as there.
        weights: of the documents, fewer than 2**32 in all.
    """
    many = weights.shape[1]
    sums = np.zeros((3, first.size - 1, many))
    for label in range(first.size - 1):
        positives, precisions, negatives = sums[0, label], sums[1, label], sums[2, label]
        above, place = np.zeros(many, np.uint32), first[label]
        while place < first[label + 1]:
            after = place + 1
            while after < first[label + 1] and starts[2 * after] == starts[2 * after + 2]:
                after += 1
            own, same = np.zeros(many, np.uint32), np.zeros(many, np.uint32)
            _add(above, weights, documents[starts[2 * place] : starts[2 * place + 1]])
            _add(same, weights, documents[starts[2 * place + 1] : starts[2 * place + 2]])
            _add(own, weights, rows[place:after])
            for replicate in range(many):
                mine, before = np.float64(own[replicate]), positives[replicate]
                higher, tied = np.float64(above[replicate]), np.float64(same[replicate])
                negatives[replicate] += mine * (higher - before + 0.5 * (tied - mine))
                positives[replicate] = before + mine
                precisions[replicate] += mine * ((before + mine) / max(higher + tied, 1.0))
                above[replicate] += same[replicate]
            place = after
    return sums
