"""Ranks of positives within their labels as functions of document weights.

A replicate needs the weight of the documents that score higher than each positive, or the same, and of the positives
among these: sums of counts, which the loops of ``label_sums`` make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt

    Piece: TypeAlias = Callable[[], "LabelRanks"]

# What a thread works on at a time; the weights that it reads again and again fit into the cache that the cores share.
_LABELS_OF_PIECE = 128
_REPLICATES_AT_ONCE = 256
_DOCUMENTS_AT_ONCE = 256


class _RankedPositives:
    """The positives of the labels that have one, label by label and by falling score.

    Attributes:
        rows: of the positives.
        labels: columns of the labels.
        first: place of each label's first positive, and the number of positives.
    """

    def __init__(self, scores: Float[np.ndarray, "n L"], targets: Targets) -> None:
        values = scores[targets.rows, targets.columns]
        order = np.lexsort((-values, targets.columns))
        columns = targets.columns[order]
        begins = np.flatnonzero(np.diff(columns, prepend=-1))
        self.rows, self.labels = targets.rows[order], columns[begins]
        self.first = np.append(begins, columns.size)


@dataclass(frozen=True, slots=True)
class LabelRanks:
    """Weighted ranks of the positives of some labels, summed by label, for all replicates.

    Attributes:
        positives, negatives: weight of each label's.
        precision_total, outranked: as ``Ranks`` has them.
    """

    positives: Float[np.ndarray, "l r"]
    negatives: Float[np.ndarray, "l r"]
    precision_total: Float[np.ndarray, "l r"]
    outranked: Float[np.ndarray, "l r"]


def _blocks(weights: Float[np.ndarray, "r n"]) -> list[UInt[np.ndarray, "n _"]]:
    """Weights of the documents, some replicates after others, in the smallest integers that hold them.

    Raises:
        ValueError: weights that are no counts, or too large ones.
    """
    if not np.array_equal(weights, np.rint(weights)) or weights.min(initial=0) < 0:
        raise ValueError("ranks within labels are weighed by counts of documents: whole numbers from 0 on")
    if weights.sum(axis=1).max(initial=0) >= 1 << 32:
        raise ValueError("ranks within labels are weighed by counts of documents: fewer than 2**32 in all")
    dtype = np.uint8 if weights.max(initial=0) < 1 << 8 else np.uint32
    starts = range(0, len(weights), _REPLICATES_AT_ONCE)
    parts = (weights[start : start + _REPLICATES_AT_ONCE].T for start in starts)
    return [np.ascontiguousarray(part, dtype=dtype) for part in parts]


def _by_label(scores: Float[np.ndarray, "n L"], labels: Int[np.ndarray, " l"]) -> Float[np.ndarray, "l n"]:
    """The scores of some labels; some documents at a time, which takes half the time."""
    found = np.empty((labels.size, len(scores)), scores.dtype)
    for first in range(0, len(scores), _DOCUMENTS_AT_ONCE):
        part = slice(first, first + _DOCUMENTS_AT_ONCE)
        found[:, part] = scores[part][:, labels].T
    return found


def weighted_labels(
    scores: Float[np.ndarray, "n L"], targets: Targets
) -> Callable[[Float[np.ndarray, "r n"]], Iterator[Piece]]:
    """Weighted ranks of the labels that have a positive, some labels at a time."""
    # Few commands resample, and the compiler takes a while to import.
    from sdl_study.evaluation.metrics.label_sums import strips, sums_by_label

    positives = _RankedPositives(scores, targets)

    def ranks(
        blocks: list[UInt[np.ndarray, "n _"]], weight: Float[np.ndarray, " r"], labels: slice
    ) -> LabelRanks:
        own = positives.first[labels.start : labels.stop + 1]
        rows, first = positives.rows[own[0] : own[-1]], own - own[0]
        documents, starts = strips(_by_label(scores, positives.labels[labels]), rows, first)
        of_positives, precisions, outranking = np.concatenate(
            [sums_by_label(documents, starts, rows, first, block) for block in blocks], axis=2
        )
        negatives = weight - of_positives
        return LabelRanks(of_positives, negatives, precisions, of_positives * negatives - outranking)

    def pieces(weights: Float[np.ndarray, "r n"]) -> Iterator[Piece]:
        blocks, weight, many = _blocks(weights), weights.sum(axis=1), positives.labels.size
        for start in range(0, many, _LABELS_OF_PIECE):
            yield partial(ranks, blocks, weight, slice(start, min(start + _LABELS_OF_PIECE, many)))

    return pieces
