"""Ranks of positives within their labels as functions of document weights.

A replicate needs the weight of the documents that score at least as high as each positive does, or higher, and of the
positives among these. A label's positives, by falling score, cut its documents into strips, and what lies above a
positive is the sum of the strips before it. Documents below the last positive are never looked at: of a good ranking,
nearly all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt

    # Gives the ranks of some labels, a few labels at a time; for some replicates after others.
    Piece: TypeAlias = Callable[[], Iterator[Iterator["LabelRanks"]]]

# What a thread works on at a time fits into its core's cache, and the weights that it reads again and again, one block
# of replicates for all chunks of a piece, into the cache that the cores share.
_CHUNK_POSITIVES = 1024
_REPLICATES_AT_ONCE = 128
_CHUNKS_OF_PIECE = 32
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

    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of labels, of about ``_CHUNK_POSITIVES`` positives."""
        bounds = [0]
        for label in range(1, self.labels.size):
            if self.first[label + 1] - self.first[bounds[-1]] > _CHUNK_POSITIVES:
                bounds.append(label)
        return list(pairwise([*bounds, self.labels.size])) if self.labels.size else []


def _blocks(weights: Float[np.ndarray, "r n"]) -> list[UInt[np.ndarray, "n _"]]:
    """Weights of the documents, some replicates after others, in the smallest integers that hold them.

    Raises:
        ValueError: weights that are no counts.
    """
    if not np.array_equal(weights, np.rint(weights)) or weights.min(initial=0) < 0:
        raise ValueError("ranks within labels are weighed by counts of documents: whole numbers from 0 on")
    if weights.sum(axis=1).max(initial=0) >= 1 << 32:
        raise ValueError("ranks within labels are weighed by counts of documents: fewer than 2**32 in all")
    dtype = np.min_scalar_type(int(weights.max(initial=0)))
    starts = range(0, len(weights), _REPLICATES_AT_ONCE)
    parts = (weights[start : start + _REPLICATES_AT_ONCE].T for start in starts)
    return [np.ascontiguousarray(part, dtype=dtype) for part in parts]


class _LabelChunk:
    """The positives of some labels, and which documents lie above each.

    Args:
        by_label: scores.
        rows: documents of the labels' positives, label by label and by falling score.
        first: place of each label's first positive, and the number of positives.
    """

    def __init__(
        self,
        by_label: Float[np.ndarray, "l n"],
        rows: Int[np.ndarray, " p"],
        first: Int[np.ndarray, " l+1"],
    ) -> None:
        self.rows, self.first = rows, first
        self.label_of = np.repeat(np.arange(len(by_label)), np.diff(first))
        self._documents, self._starts = _compiled().strips(by_label, rows, first)

    def above(
        self, weights: UInt[np.ndarray, "n b"], *, ties: bool
    ) -> tuple[Float[np.ndarray, "p b"], Float[np.ndarray, "p b"]]:
        """Weight of the documents that score higher than each positive, and of the positives among them; with ``ties``
        of those that score the same, too."""
        return _compiled().sums_above(self._documents, self._starts, self.rows, self.first, weights, ties)

    def total(
        self, values: Float[np.ndarray, "p b"], weights: UInt[np.ndarray, "n b"]
    ) -> Float[np.ndarray, "l b"]:
        """Sum by label, each positive with its document's weight."""
        return _compiled().weighted_sums(values, self.rows, self.first, weights)


def _compiled() -> Any:
    """The compiled loops: their library takes a while to import, and few commands resample."""
    from sdl_study.evaluation.metrics import label_sums

    return label_sums


class LabelRanks:
    """Weighted ranks of the positives of some labels for some replicates, computed when asked for.

    Values are [p, b], totals by label [l, b].
    """

    def __init__(self, chunk: _LabelChunk, weights: UInt[np.ndarray, "n b"]) -> None:
        self._chunk, self._weights = chunk, weights

    @cached_property
    def positives(self) -> Float[np.ndarray, "l b"]:
        """Weight of each label's positives: of those that score at least as high as its last."""
        return self.positives_at_least[self._chunk.first[1:] - 1]

    @cached_property
    def negatives(self) -> Float[np.ndarray, "l b"]:
        """Weight of each label's negatives."""
        return self._weights.sum(axis=0, dtype=np.float64) - self.positives

    @cached_property
    def _at_least(self) -> tuple[Float[np.ndarray, "p b"], Float[np.ndarray, "p b"]]:
        return self._chunk.above(self._weights, ties=True)

    @property
    def at_least(self) -> Float[np.ndarray, "p b"]:
        """Weight of the documents that score the same or higher."""
        return self._at_least[0]

    @property
    def positives_at_least(self) -> Float[np.ndarray, "p b"]:
        """Weight of the positives among these."""
        return self._at_least[1]

    @property
    def negatives_below(self) -> Float[np.ndarray, "p b"]:
        """Weight of the negatives that score lower."""
        return self._negatives_outside(*self._at_least)

    @property
    def negatives_upto(self) -> Float[np.ndarray, "p b"]:
        """Weight of the negatives that score lower or the same."""
        return self._negatives_outside(*self._chunk.above(self._weights, ties=False))

    def _negatives_outside(
        self, documents: Float[np.ndarray, "p b"], positives: Float[np.ndarray, "p b"]
    ) -> Float[np.ndarray, "p b"]:
        return self.negatives[self._chunk.label_of] - (documents - positives)

    def total(self, values: Float[np.ndarray, "p b"]) -> Float[np.ndarray, "l b"]:
        """Sum by label, each positive with its document's weight."""
        return self._chunk.total(values, self._weights)


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
    positives = _RankedPositives(scores, targets)

    def ranks(
        blocks: Sequence[UInt[np.ndarray, "n _"]], bounds: Sequence[tuple[int, int]]
    ) -> Iterator[Iterator[LabelRanks]]:
        begin, end = bounds[0][0], bounds[-1][1]
        by_label = _by_label(scores, positives.labels[begin:end])
        chunks = []
        for first, last in bounds:
            places = positives.first[first : last + 1]
            rows = positives.rows[places[0] : places[-1]]
            chunks.append(_LabelChunk(by_label[first - begin : last - begin], rows, places - places[0]))
        for block in blocks:
            yield (LabelRanks(chunk, block) for chunk in chunks)

    def pieces(weights: Float[np.ndarray, "r n"]) -> Iterator[Piece]:
        blocks, chunks = _blocks(weights), positives.chunks()
        for start in range(0, len(chunks), _CHUNKS_OF_PIECE):
            yield partial(ranks, blocks, chunks[start : start + _CHUNKS_OF_PIECE])

    return pieces
