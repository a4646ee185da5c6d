"""``linear``: a candidate's foreign labels lower its weight linearly, down to 0; for ablations of sd's penalty."""

from __future__ import annotations

from torch import Tensor

from sdl_study.losses.checks import number_from_zero
from sdl_study.losses.rules import Normalizer, WeightRule


class LinearRule(WeightRule):
    """|S∩T|/|S| · max(0, 1 − λx), at a rate λ ≥ 0: x = |T| − |S∩T| labels of the candidate that the anchor lacks."""

    def __init__(self, rate: float = 0.1, normalizer: Normalizer = "positives") -> None:
        super().__init__(normalizer)
        self.rate = number_from_zero("rate", rate)

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        foreign = candidate_size - intersection
        return (intersection / anchor_size) * (1 - self.rate * foreign).clamp_min(0)


LOSS = LinearRule
