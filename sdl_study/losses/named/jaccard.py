"""``jaccard``: positives weighted by the Jaccard index of the label sets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.rules import BufferedRule, Normalizer


class JaccardRule(BufferedRule):
    """|S∩T| / |S∪T|: the rule of ``jaccard``."""

    symmetric = True
    zero_when_disjoint = True

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        union = torch.add(anchor_size, candidate_size, out=out).sub_(intersection)
        return torch.div(intersection, union, out=union)


class JaccardLoss(WeightedContrastiveLoss):
    """Positives weighted by their Jaccard index: ω = |S∩T| / |S∪T| / (|P(i)|·V)."""

    def __init__(
        self, temperature: float = 0.07, normalizer: Normalizer = "positives", **settings: Any
    ) -> None:
        super().__init__(JaccardRule(normalizer), temperature, **settings)


LOSS = JaccardLoss
