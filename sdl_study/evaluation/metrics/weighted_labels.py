"""Ranks of positives within their labels as functions of document weights.

A replicate needs the weight of the documents that score at least as high as each positive does, or higher, and of the
positives among these. Both are counted in one running sum: the halves of an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from sdl_study.evaluation.targets import Targets

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt

    # Gives the ranks of some labels, a few labels at a time; for some replicates after others.
    Piece: TypeAlias = Callable[[], Iterator[Iterator["LabelRanks"]]]

# What a thread works on at a time fits into its core's cache, and the weights that it reads again and again, one block
# of replicates for all chunks of a piece, into the cache that the cores share.
_CHUNK_POSITIVES = 512
_REPLICATES_AT_ONCE = 256
_CHUNKS_OF_PIECE = 32
_DOCUMENTS_AT_ONCE = 256
_ROWS_AT_ONCE = 16


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


@dataclass(frozen=True, slots=True)
class _Replicates:
    """Weights of the documents, in the smallest unsigned integers that hold the weight of all of them.

    Attributes:
        blocks: some replicates after others.
        wide: integers of twice as many bits.
    """

    blocks: tuple[UInt[np.ndarray, "n _"], ...]
    wide: type[np.uint32] | type[np.uint64]

    @classmethod
    def of(cls, weights: Float[np.ndarray, "r n"]) -> _Replicates:
        """Raises ValueError for weights that are no counts."""
        if not np.array_equal(weights, np.rint(weights)) or weights.min(initial=0) < 0:
            raise ValueError(
                "ranks within labels are weighed by counts of documents: whole numbers from 0 on"
            )
        few = weights.sum(axis=1).max(initial=0) < 1 << 16
        starts = range(0, len(weights), _REPLICATES_AT_ONCE)
        parts = (weights[start : start + _REPLICATES_AT_ONCE].T for start in starts)
        blocks = tuple(np.ascontiguousarray(part, dtype=np.uint16 if few else np.uint32) for part in parts)
        return cls(blocks, np.uint32 if few else np.uint64)


@dataclass(frozen=True, slots=True)
class _Strips:
    """What lies between the scores of each label's neighbouring positives, by falling score.

    Attributes:
        documents: matrix [p, n] of ones: sums all documents of each strip.
        positives: matrix [p, p] of ones: sums the positives of each strip; None where that is one, the strip's own.
    """

    documents: Any
    positives: Any | None


class _LabelChunk:
    """The positives of some labels, and which documents lie above each.

    Args:
        by_label: scores.
        rows: of the labels' positives, label by label and by falling score.
        first: place of each label's first positive, and the number of positives.
        replicates: by which it is going to be weighed.
    """

    def __init__(
        self,
        by_label: Float[np.ndarray, "l n"],
        rows: Int[np.ndarray, " p"],
        first: Int[np.ndarray, " l+1"],
        replicates: _Replicates,
    ) -> None:
        self._by_label, self.rows, self._first, self._replicates = by_label, rows, first, replicates
        self.label_of = np.repeat(np.arange(len(by_label)), np.diff(first))
        self.last = first[1:] - 1
        self.of_labels = self._sums_of_labels(np.float64(1))
        """Matrix [l, p] of ones: sums the positives of each label."""

    def _sums_of_labels(self, one: np.generic) -> Any:
        return _sums(np.arange(self.rows.size), np.diff(self._first), self.rows.size, one)

    @cached_property
    def _totals(self) -> Any:
        return self._sums_of_labels(self._replicates.wide(1))

    @cached_property
    def at_least(self) -> _Strips:
        """Strips that end with each positive, those of its score among them."""
        return self._strips(ties=True)

    @cached_property
    def above(self) -> _Strips:
        """Strips that end before the positive's score."""
        return self._strips(ties=False)

    def _strips(self, *, ties: bool) -> _Strips:
        """A label's positives, by falling score, cut its documents into strips; what lies above a positive is the sum
        of the strips before it. Documents below the last positive are never looked at: of a good ranking, nearly all.
        """
        found = [
            _of_strips(scores, self.rows[start:end], ties=ties)
            for scores, (start, end) in zip(self._by_label, pairwise(self._first.tolist()), strict=True)
        ]
        documents, sizes, positives, positive_sizes = (
            np.concatenate(parts) for parts in zip(*found, strict=True)
        )
        many, wide = self.rows.size, self._replicates.wide
        place = np.flatnonzero(positives)
        return _Strips(
            _sums(documents, sizes, self._by_label.shape[1], self._replicates.blocks[0].dtype.type(1)),
            None if (positive_sizes == 1).all() else _sums(place, positive_sizes, many, wide(1)),
        )

    def summed(
        self, strips: _Strips, weights: UInt[np.ndarray, "n b"], own: UInt[np.ndarray, "p b"]
    ) -> UInt[np.ndarray, "p b"]:
        """Sum of each positive's strip and those before it on its label: of all documents in the lower half of the
        bits, of positives in the upper.

        Args:
            strips: which.
            weights: of the documents.
            own: those of the positives.
        """
        wide = self._replicates.wide
        sums, positives = (strips.documents @ weights).astype(wide), own.astype(wide)
        if strips.positives is not None:
            positives = strips.positives @ positives
        positives <<= wide(4 * positives.itemsize)
        sums += positives
        # A running sum over all labels that loses each label's total at the next one's start; integers wrap around.
        sums[self._first[1:-1]] -= (self._totals @ sums)[:-1]
        _accumulate(sums)
        return sums


def _accumulate(sums: UInt[np.ndarray, "p b"]) -> None:
    """Running sums down the columns, in place: of a few rows at a time, for ``np.cumsum`` goes down one column after
    another and meets each number in another line of the cache."""
    whole = len(sums) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    blocks = sums[:whole].reshape(-1, _ROWS_AT_ONCE, sums.shape[1])
    for row in range(1, _ROWS_AT_ONCE):
        blocks[:, row] += blocks[:, row - 1]
    for before, block in pairwise(blocks):
        block += before[-1]
    for row in range(max(1, whole), len(sums)):
        sums[row] += sums[row - 1]


def _of_strips(
    scores: Float[np.ndarray, " n"], positives: Int[np.ndarray, " p"], *, ties: bool
) -> tuple[Int[np.ndarray, " above"], Int[np.ndarray, " p"], Bool[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Of one label: the documents above its last positive, strip by strip, and how many each strip has; which of the
    positives lie in a strip, and how many in each."""
    own = scores[positives]
    above = np.flatnonzero(scores >= own[-1] if ties else scores > own[-1])
    side: Literal["left", "right"] = "left" if ties else "right"
    strip = np.searchsorted(-own, -scores[above], side)
    of_own = np.searchsorted(-own, -own, side)
    inside = of_own < own.size
    sizes = np.bincount(strip, minlength=own.size), np.bincount(of_own[inside], minlength=own.size)
    return above[np.argsort(strip, kind="stable")], sizes[0], inside, sizes[1]


def _sums(columns: np.ndarray, sizes: np.ndarray, width: int, one: np.generic) -> Any:
    """Sparse matrix that multiplies columns with one and sums them: of each row as many as its size, in their order."""
    from scipy.sparse import csr_array

    values = np.full(columns.size, one)
    return csr_array((values, columns, np.append(0, np.cumsum(sizes))), shape=(sizes.size, width))


def _lower(counted: UInt[np.ndarray, "p b"]) -> UInt[np.ndarray, "p b"]:
    """All documents of ``summed``."""
    return counted & counted.dtype.type((1 << 4 * counted.itemsize) - 1)


def _upper(counted: UInt[np.ndarray, "p b"]) -> UInt[np.ndarray, "p b"]:
    """The positives of ``summed``."""
    return counted >> counted.dtype.type(4 * counted.itemsize)


class LabelRanks:
    """Weighted ranks of the positives of some labels for some replicates, computed when asked for.

    Values are [p, b], totals by label [l, b].
    """

    def __init__(self, chunk: _LabelChunk, weights: UInt[np.ndarray, "n b"]) -> None:
        self._chunk, self._weights = chunk, weights

    @cached_property
    def _own(self) -> UInt[np.ndarray, "p b"]:
        """Weight of each positive's document."""
        return self._weights[self._chunk.rows]

    @cached_property
    def positives(self) -> Float[np.ndarray, "l b"]:
        """Weight of each label's positives: of those that score at least as high as the last one."""
        return _upper(self._at_least[self._chunk.last]).astype(np.float64)

    @cached_property
    def negatives(self) -> Float[np.ndarray, "l b"]:
        """Weight of each label's negatives."""
        return self._weights.sum(axis=0, dtype=np.float64) - self.positives

    @cached_property
    def _at_least(self) -> UInt[np.ndarray, "p b"]:
        return self._chunk.summed(self._chunk.at_least, self._weights, self._own)

    @property
    def precision(self) -> Float[np.ndarray, "p b"]:
        """Weight of the positives that score the same or higher than each, as a share of the documents that do."""
        documents = _lower(self._at_least)
        return _upper(self._at_least) / np.maximum(documents, 1, out=documents)

    @property
    def negatives_below(self) -> Float[np.ndarray, "p b"]:
        """Weight of the negatives that score lower."""
        return self._negatives_outside(self._at_least)

    @property
    def negatives_upto(self) -> Float[np.ndarray, "p b"]:
        """Weight of the negatives that score lower or the same."""
        return self._negatives_outside(self._chunk.summed(self._chunk.above, self._weights, self._own))

    def _negatives_outside(self, counted: UInt[np.ndarray, "p b"]) -> Float[np.ndarray, "p b"]:
        return self.negatives[self._chunk.label_of] - (_lower(counted) - _upper(counted))

    def total(self, values: Float[np.ndarray, "p b"]) -> Float[np.ndarray, "l b"]:
        """Sum by label, each positive with its document's weight."""
        weighted = self._own.astype(np.float64)
        weighted *= values
        return self._chunk.of_labels @ weighted


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

    def ranks(replicates: _Replicates, bounds: Sequence[tuple[int, int]]) -> Iterator[Iterator[LabelRanks]]:
        begin, end = bounds[0][0], bounds[-1][1]
        by_label = _by_label(scores, positives.labels[begin:end])
        chunks = []
        for first, last in bounds:
            places = positives.first[first : last + 1]
            rows = positives.rows[places[0] : places[-1]]
            chunks.append(
                _LabelChunk(by_label[first - begin : last - begin], rows, places - places[0], replicates)
            )
        for block in replicates.blocks:
            yield (LabelRanks(chunk, block) for chunk in chunks)

    def pieces(weights: Float[np.ndarray, "r n"]) -> Iterator[Piece]:
        replicates, chunks = _Replicates.of(weights), positives.chunks()
        for start in range(0, len(chunks), _CHUNKS_OF_PIECE):
            yield partial(ranks, replicates, chunks[start : start + _CHUNKS_OF_PIECE])

    return pieces
