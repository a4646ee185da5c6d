"""Batches for contrastive training: seeded, sharded over ranks, resumable, each example once an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

    from sdl_study.losses import LabelSets


class ContrastiveSampler:
    """Global batches that are a pure function of (seed, epoch), cut into one part per rank.

    Every training example stands in exactly one batch of an epoch. All batches have
    ``global_batch_size`` examples but the last, which holds the remainder. What a step's global batch holds
    does not depend on ``world_size``; ranks get consecutive parts whose sizes differ by at most one, and every
    rank makes the same number of steps (its part of a short last batch may be empty). To resume, take
    the epoch again and skip the steps already made.

    ``label_aware`` in [0, 1] raises the share of valid anchors: with this probability an example brings a
    partner into its batch, one with the same label set where there is one left, else one that shares
    its rarest label; 0 is plain shuffling. It changes which examples meet, not how often one is seen:
    equal sets and rare labels meet more often than in the data, batches are no independent draws of it
    any more, and losses and valid-anchor fractions are not comparable between settings.

    Args:
        num_examples: training examples.
        global_batch_size: examples of a step over all ranks.
        seed: of the data order.
        rank, world_size: which part this process gets.
        labels: label sets of the training examples; needed when ``label_aware`` is above 0.
        label_aware: probability that an example brings a partner.

    Raises:
        ValueError: an argument out of range, or labels missing or of another length.
    """

    def __init__(
        self,
        num_examples: int,
        global_batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        labels: LabelSets | None = None,
        label_aware: float = 0.0,
    ) -> None:
        if num_examples < 1 or global_batch_size < 1:
            raise ValueError(
                f"{num_examples} examples in batches of {global_batch_size}: both must be positive"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not within a world of {world_size}")
        if not 0.0 <= label_aware <= 1.0:
            raise ValueError(f"label_aware is {label_aware}; it is a share in [0, 1]")
        if label_aware and (labels is None or len(labels) != num_examples):
            raise ValueError(f"label-aware batches need the labels of all {num_examples} examples")
        self.num_examples = num_examples
        self.global_batch_size = global_batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.label_aware = label_aware
        self._labels = labels

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, the short last one included; the same on every rank."""
        return -(-self.num_examples // self.global_batch_size)

    def epoch(self, epoch: int) -> Iterator[Int64[np.ndarray, " b"]]:
        """This rank's positions (0…num_examples-1) of every step of ``epoch``, in order."""
        for batch in self.global_batches(epoch):
            yield self.part(batch)

    def part(self, batch: Int64[np.ndarray, " B"]) -> Int64[np.ndarray, " b"]:
        """This rank's consecutive part of a global batch."""
        share, extra = divmod(len(batch), self.world_size)
        start = self.rank * share + min(self.rank, extra)
        return batch[start : start + share + (self.rank < extra)]

    def global_batches(self, epoch: int) -> Iterator[Int64[np.ndarray, " B"]]:
        """The global batches of ``epoch``, the same on every rank."""
        order = self._order(np.random.default_rng([self.seed, epoch]))
        for start in range(0, self.num_examples, self.global_batch_size):
            yield order[start : start + self.global_batch_size]

    def _order(self, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
        order = rng.permutation(self.num_examples).astype(np.int64)
        if not self.label_aware:
            return order
        return self._grouped(order, rng)

    def _grouped(self, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Place an example and a partner, taken from those not placed yet, next to each other."""
        assert self._labels is not None
        labels = self._labels
        counts = labels.counts()
        waiting = self._waiting(order)
        placed = np.zeros(self.num_examples, dtype=bool)
        grouped = rng.random(self.num_examples) < self.label_aware
        out: list[int] = []
        for example in order.tolist():
            if placed[example]:
                continue
            placed[example] = True
            out.append(example)
            if grouped[example]:
                own = labels.row(example)
                keys = [own.tobytes(), *own[np.argsort(counts[own], kind="stable")].tolist()]
                partner = self._partner(keys, waiting, placed) if len(own) else None
                if partner is not None:
                    placed[partner] = True
                    out.append(partner)
        return np.asarray(out, dtype=np.int64)

    def _waiting(self, order: np.ndarray) -> dict[int | bytes, list[int]]:
        """Examples of every label and of every label set, to be taken from the end: the epoch's first."""
        assert self._labels is not None
        waiting: dict[int | bytes, list[int]] = {}
        for example in reversed(order.tolist()):
            own = self._labels.row(example)
            for key in (own.tobytes(), *own.tolist()):
                waiting.setdefault(key, []).append(example)
        return waiting

    @staticmethod
    def _partner(
        keys: list[int | bytes], waiting: dict[int | bytes, list[int]], placed: np.ndarray
    ) -> int | None:
        for key in keys:
            candidates = waiting[key]
            while candidates and placed[candidates[-1]]:
                candidates.pop()
            if candidates:
                return candidates[-1]
        return None
