"""``exponential``: a candidate's foreign labels lower its weight exponentially; for ablations of sd's penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from sdl_study.losses.checks import number_from_zero
from sdl_study.losses.rules import Normalizer, WeightRule


class ExponentialRule(WeightRule):
    """|S∩T|/|S| · exp(−λx), at a rate λ ≥ 0: x = |T| − |S∩T| labels of the candidate that the anchor lacks."""

    def __init__(self, rate: float = 1.0, normalizer: Normalizer = "positives") -> None:
        super().__init__(normalizer)
        self.rate = number_from_zero("rate", rate)

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        foreign = candidate_size - intersection
        return (intersection / anchor_size) * torch.exp(-self.rate * foreign)


LOSS = ExponentialRule
