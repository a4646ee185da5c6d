"""``all``: positives are the candidates with the anchor's very label set."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.core import Positives
from sdl_study.losses.exchange import Batch
from sdl_study.losses.label_positives import LabelPositives, distinct_sets
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.tiles import TilePlan


class AllRule(WeightRule):
    """Only candidates with the anchor's very label set count: the rule of ``all``."""

    symmetric = True
    zero_when_disjoint = True

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return self.positive(intersection, anchor_size, candidate_size).to(intersection.dtype)

    def positive(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return (intersection == anchor_size) & (intersection == candidate_size)


class AllLoss(WeightedContrastiveLoss):
    """Positives are the candidates with the anchor's very label set: ω = [S=T≠∅] / (|P(i)|·V)."""

    def __init__(self, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(AllRule(), temperature, **settings)

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        # equal sets are found once by name: no pair of the batch has to be counted
        return LabelPositives(distinct_sets(batch.labels), batch, plan, 1 / self.temperature, "anchors")


LOSS = AllLoss
