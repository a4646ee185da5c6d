"""``multisupcon``: Jaccard weights on the pairs that are similar enough."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.checks import share
from sdl_study.losses.named.jaccard import JaccardRule
from sdl_study.losses.rules import Normalizer


class MultiSupConRule(JaccardRule):
    """Jaccard weights on the pairs whose Jaccard index reaches a threshold, inclusive.

    The weighting of pytorch-metric-learning's MultiSupConLoss (3.0 release candidates), except that here an empty
    label set is never a positive.
    """

    def __init__(self, threshold: float = 0.5, normalizer: Normalizer = "positives") -> None:
        super().__init__(normalizer)
        self.threshold = share("threshold", threshold)

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        weight = super().weight_out(intersection, anchor_size, candidate_size, out)
        return weight.mul_(weight >= self.threshold)

    def positive(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        jaccard = intersection / ((anchor_size + candidate_size) - intersection)
        return (jaccard >= self.threshold) & (intersection > 0)


class MultiSupConLoss(WeightedContrastiveLoss):
    """Jaccard weights where the Jaccard index reaches a threshold; fewer candidates are positives."""

    def __init__(
        self,
        temperature: float = 0.07,
        threshold: float = 0.5,
        normalizer: Normalizer = "positives",
        **settings: Any,
    ) -> None:
        super().__init__(MultiSupConRule(threshold, normalizer), temperature, **settings)


LOSS = MultiSupConLoss
