"""Other penalties on a candidate's foreign labels, for ablations; each is a weight rule of a few lines.

Similarity is |S∩T|/|S| throughout, x = |T| − |S∩T| counts the labels that the candidate has and the anchor lacks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdl_study.losses.rules import Normalizer, WeightRule


class _RateRule(WeightRule):
    """A rule with a rate λ at which foreign labels lower the weight."""

    def __init__(self, rate: float, normalizer: Normalizer = "positives") -> None:
        super().__init__(normalizer)
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"rate is {rate!r}; it must be a finite number ≥ 0")
        self.rate = float(rate)


class ExponentialRule(_RateRule):
    """|S∩T|/|S| · exp(−λx)."""

    def __init__(self, rate: float = 1.0, normalizer: Normalizer = "positives") -> None:
        super().__init__(rate, normalizer)

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        foreign = candidate_size - intersection
        return (intersection / anchor_size) * torch.exp(-self.rate * foreign)


class LinearRule(_RateRule):
    """|S∩T|/|S| · max(0, 1 − λx)."""

    def __init__(self, rate: float = 0.1, normalizer: Normalizer = "positives") -> None:
        super().__init__(rate, normalizer)

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        foreign = candidate_size - intersection
        return (intersection / anchor_size) * (1 - self.rate * foreign).clamp_min(0)


class RelativeRule(WeightRule):
    """|S∩T|/|S| · (1 − x/|T|): the foreign share of the candidate's labels instead of their number."""

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return (intersection / anchor_size) * (intersection / candidate_size)


class SymmetricRule(WeightRule):
    """1/(1 + |S△T|): labels that either set has and the other lacks count alike."""

    symmetric = True

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return 1 / (1 + anchor_size + candidate_size - 2 * intersection)
