"""``sd``: the Similarity-Dissimilarity loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.checks import number_from_zero
from sdl_study.losses.relations import RelationWeights, relation_factor
from sdl_study.losses.rules import BufferedRule, Normalizer


class SimilarityDissimilarityRule(BufferedRule):
    """ρ_R · K_s^α · K_d^β with K_s = |S∩T|/|S| and K_d = 1/(1 + |T| − |S∩T|): the rule of ``sd``.

    Source: arXiv 2410.13439 for both factors and their product; powers, relation weights and the normalizer
    "weights" are this project's. With the relation weights (w, 0, 0, 0) only equal label sets are positives.

    Raises:
        ValueError: a power that is negative or not finite, or an unknown normalizer.
    """

    def __init__(
        self,
        similarity_power: float = 1.0,
        dissimilarity_power: float = 1.0,
        relation_weights: RelationWeights | Mapping[str, float] | None = None,
        normalizer: Normalizer = "positives",
    ) -> None:
        super().__init__(normalizer)
        self.similarity_power = number_from_zero("similarity_power", similarity_power)
        self.dissimilarity_power = number_from_zero("dissimilarity_power", dissimilarity_power)
        self.relation_weights = RelationWeights.of(relation_weights)
        self.restricts_positives = self.relation_weights.only_equal
        self.zero_when_disjoint = self.similarity_power > 0

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        weight = torch.sub(candidate_size + 1, intersection, out=out)
        if self.similarity_power == self.dissimilarity_power == 1:
            weight = torch.div(intersection, weight.mul_(anchor_size), out=weight)
        else:
            weight.pow_(-self.dissimilarity_power)
            if self.similarity_power > 0:
                weight.mul_(torch.div(intersection, anchor_size).pow_(self.similarity_power))
        if self.relation_weights.uniform:
            return weight if self.relation_weights.equal == 1 else weight.mul_(self.relation_weights.equal)
        return weight.mul_(relation_factor(intersection, anchor_size, candidate_size, self.relation_weights))

    def positive(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        if self.relation_weights.only_equal:
            return (intersection == anchor_size) & (intersection == candidate_size)
        return intersection > 0


class SimilarityDissimilarityLoss(WeightedContrastiveLoss):
    """Positives weighted by the shared part of the anchor's labels and against the candidate's foreign labels.

    ω_ij = ρ_R · (|S∩T|/|S|)^α · (1/(1+|T|−|S∩T|))^β / (|P(i)|·V).

    Source: arXiv 2410.13439 (α = β = 1, ρ = 1); powers, relation weights and normalizer "weights" are ours.

    Args:
        similarity_power, dissimilarity_power: α and β, ≥ 0.
        relation_weights: ρ for equal, overlapping, sub- and superset label sets; a mapping may name some of the
            relations, the others weigh 1.
        normalizer: "positives" divides by |P(i)|, "weights" by the sum of the anchor's weights.
        temperature, **settings: as in ``ContrastiveLoss``.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        similarity_power: float = 1.0,
        dissimilarity_power: float = 1.0,
        relation_weights: RelationWeights | Mapping[str, float] | None = None,
        normalizer: Normalizer = "positives",
        **settings: Any,
    ) -> None:
        rule = SimilarityDissimilarityRule(
            similarity_power, dissimilarity_power, relation_weights, normalizer
        )
        super().__init__(rule, temperature, **settings)


LOSS = SimilarityDissimilarityLoss
