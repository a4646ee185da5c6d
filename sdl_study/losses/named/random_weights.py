"""``random_weights``, a control: sd's positives and sd's total per anchor, split at random among the positives.

If it does as well as sd, then what helped was how much each anchor counts, not which positive counts more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdl_study.losses.base import ContrastiveLoss
from sdl_study.losses.exchange import Batch
from sdl_study.losses.named.sd import SimilarityDissimilarityRule
from sdl_study.losses.positives import WEIGHT, Range, RulePositives
from sdl_study.losses.relations import RelationWeights
from sdl_study.losses.rules import Normalizer, WeightRule
from sdl_study.losses.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

TARGET = 3
"""Column of the sums that holds sd's Σ weight, next to that of the hashes."""

_MASK = 0xFFFFFFFF


def pair_hash(
    anchors: Tensor, candidates: Tensor, step: int, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "n m"]:
    """A number in (0, 1] for every ordered pair of rows and step, the same on every device and in every dtype."""
    seed = (step * 0x9E3779B1 + 0x7F4A7C15) & _MASK
    mixed = (anchors * 0x85EBCA6B + candidates * 0xC2B2AE35 + seed) & _MASK
    for shift, factor in ((16, 0x7FEB352D), (15, 0x2C1B3C6D)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _MASK
    return ((mixed ^ (mixed >> 16)) >> 8).to(dtype).add_(1).mul_(2.0**-24)


class RandomPositives(RulePositives):
    """The positive term whose weights are hashes, scaled to a rule's total per anchor."""

    num_sums = 4

    def __init__(self, rule: WeightRule, batch: Batch, plan: TilePlan, step: int) -> None:
        super().__init__(rule, batch, plan)
        self._numbers = torch.arange(len(batch.labels), device=batch.rows.device)
        self._step = step

    def weights(self, counts: Tensor, anchors: Range, candidates: Range, dim: int) -> Float[Tensor, "n m"]:
        rows = self._numbers[slice(*anchors)].unsqueeze(dim)
        columns = self._numbers[slice(*candidates)].unsqueeze(1 - dim)
        hashes = pair_hash(rows, columns, self._step, counts.dtype)
        return hashes.mul_(self.positive(counts, anchors, candidates, dim))

    def collect(
        self, tile: Tile, counts: Tensor, logits: Tensor, bias: Tensor, sums: Tensor, start: int
    ) -> None:
        super().collect(tile, counts, logits, bias, sums, start)
        for anchors, candidates, dim in self.sides(tile):
            target = super().weights(counts, anchors, candidates, dim).sum(dim)
            sums[anchors[0] - start : anchors[1] - start, TARGET] += target

    def divisor(self, sums: Float64[Tensor, "M 4"]) -> Float64[Tensor, " M"]:
        """hash / divisor adds up to the rule's own total per anchor."""
        target = sums[:, TARGET]
        share = target / super().divisor(sums) if self.rule.normalizer == "positives" else target.sign()
        return sums[:, WEIGHT] / share


class RandomWeightsLoss(ContrastiveLoss):
    """Control: sd's positives and totals per anchor, split by a hash of the two rows and the step.

    The hash takes the rows' numbers in the global batch, so the loss is the same for any number of ranks but not
    for another order of the rows. ``step`` counts the training forward passes and is saved with the module.

    Args:
        similarity_power, dissimilarity_power, relation_weights, normalizer: of the sd loss it imitates.
        temperature, **settings: as in ``ContrastiveLoss``.
    """

    step: Tensor

    def __init__(
        self,
        temperature: float = 0.07,
        similarity_power: float = 1.0,
        dissimilarity_power: float = 1.0,
        relation_weights: RelationWeights | Mapping[str, float] | None = None,
        normalizer: Normalizer = "positives",
        **settings: Any,
    ) -> None:
        super().__init__(temperature, **settings)
        self.rule = SimilarityDissimilarityRule(
            similarity_power, dissimilarity_power, relation_weights, normalizer
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def positives(self, batch: Batch, plan: TilePlan) -> RandomPositives:
        made = RandomPositives(self.rule, batch, plan, int(self.step))
        if self.training:
            self.step += 1
        return made


LOSS = RandomWeightsLoss
