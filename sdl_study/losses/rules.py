"""Weight rules: what a positive pair counts, as a function of three numbers.

A rule sees the pairs of a tile as (intersection |S∩T|, anchor size |S|, candidate size |T|) and returns their
weights. Tiling, sharding, gradients and masks are the core's work: a pair without a shared label, and an anchor
with itself, never count, whatever the rule returns for them. Sizes of empty sets are shown as 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sdl_study.losses.relations import RelationWeights, relation_factor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Normalizer = Literal["positives", "weights"]
NORMALIZERS = ("positives", "weights")


class WeightRule(ABC):
    """An elementwise function (intersection, anchor size, candidate size) → weight, and a normaliser.

    ω_ij = weight_ij / (|P(i)|·V) with normalizer "positives", weight_ij / (Σ_{P(i)} weight · V) with "weights".
    P(i) are the candidates that share a label with the anchor and satisfy `positive`; V counts the anchors of
    the global batch with a non-empty P(i).

    A rule of one's own overrides `weight`; weights are finite and ≥ 0 wherever the intersection is ≥ 1:

        class Halving(WeightRule):
            def weight(self, intersection, anchor_size, candidate_size):
                return 0.5 ** (candidate_size - intersection)

    Attributes:
        normalizer: "positives" or "weights".
        symmetric: set it where anchor and candidate may be exchanged; it halves the work on weights.
        zero_when_disjoint: set it where `weight` is 0 by itself at intersection 0; it spares one mask per tile.
        restricts_positives: set it where `positive` is overridden; it spares the call elsewhere.
    """

    normalizer: Normalizer = "positives"
    symmetric: bool = False
    zero_when_disjoint: bool = False
    restricts_positives: bool = False

    def __init__(self, normalizer: Normalizer = "positives") -> None:
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer is {normalizer!r}; choose one of {', '.join(NORMALIZERS)}")
        self.normalizer = normalizer

    @abstractmethod
    def weight(
        self,
        intersection: Float[Tensor, "n m"],
        anchor_size: Float[Tensor, "n 1"],
        candidate_size: Float[Tensor, "1 m"],
    ) -> Float[Tensor, "n m"]:
        """The weight of every pair of a tile, in the dtype of `intersection`, as a tensor of its own."""

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Float[Tensor, "n m"]:
        """`weight`, which may write into the memory of `out` (the core's tile) and return it."""
        return self.weight(intersection, anchor_size, candidate_size)

    def positive(
        self,
        intersection: Float[Tensor, "n m"],
        anchor_size: Float[Tensor, "n 1"],
        candidate_size: Float[Tensor, "1 m"],
    ) -> Bool[Tensor, "n m"]:
        """Which pairs are positives, among those with a shared label; by default all of them."""
        return intersection > 0

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class BufferedRule(WeightRule):
    """A rule written for speed: it defines `weight_out`, and `weight` follows."""

    @abstractmethod
    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        """As in `WeightRule`."""

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return self.weight_out(intersection, anchor_size, candidate_size, torch.empty_like(intersection))


class AnyRule(BufferedRule):
    """Every candidate with a shared label counts 1 (strategy "any")."""

    symmetric = True
    zero_when_disjoint = True

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        return torch.sign(intersection, out=out)


class AllRule(WeightRule):
    """Only candidates with the anchor's very label set count (strategy "all")."""

    symmetric = True
    restricts_positives = True
    zero_when_disjoint = True

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return self.positive(intersection, anchor_size, candidate_size).to(intersection.dtype)

    def positive(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return (intersection == anchor_size) & (intersection == candidate_size)


class SimilarityDissimilarityRule(BufferedRule):
    """ρ_R · K_s^α · K_d^β with K_s = |S∩T|/|S| and K_d = 1/(1 + |T| − |S∩T|) (strategy "sd").

    Source: arXiv 2410.13439 for both factors and their product; powers, relation weights and the normalizer
    "weights" are this project's. With the relation weights (w, 0, 0, 0) only equal label sets are positives.

    Raises:
        ValueError: a power that is negative or not finite, or an unknown normalizer.
    """

    def __init__(
        self,
        similarity_power: float = 1.0,
        dissimilarity_power: float = 1.0,
        relation_weights: RelationWeights | None = None,
        normalizer: Normalizer = "positives",
    ) -> None:
        super().__init__(normalizer)
        for name, power in (
            ("similarity_power", similarity_power),
            ("dissimilarity_power", dissimilarity_power),
        ):
            if not (isinstance(power, int | float) and math.isfinite(power) and power >= 0):
                raise ValueError(f"{name} is {power!r}; it must be a finite number ≥ 0")
        self.similarity_power = float(similarity_power)
        self.dissimilarity_power = float(dissimilarity_power)
        self.relation_weights = RelationWeights() if relation_weights is None else relation_weights
        if not isinstance(self.relation_weights, RelationWeights):
            raise TypeError(
                f"relation_weights must be RelationWeights, not {type(relation_weights).__name__}"
            )
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


class JaccardRule(BufferedRule):
    """|S∩T| / |S∪T| (strategy "jaccard")."""

    symmetric = True
    zero_when_disjoint = True

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        union = torch.add(anchor_size, candidate_size, out=out).sub_(intersection)
        return torch.div(intersection, union, out=union)


class MultiSupConRule(JaccardRule):
    """Jaccard weights on the pairs whose Jaccard index reaches a threshold, inclusive (strategy "multisupcon").

    The weighting of pytorch-metric-learning's MultiSupConLoss (3.0 release candidates), except that here an empty
    label set is never a positive.
    """

    restricts_positives = True

    def __init__(self, threshold: float = 0.5, normalizer: Normalizer = "positives") -> None:
        super().__init__(normalizer)
        if not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
            raise ValueError(f"threshold is {threshold!r}; it must lie in [0, 1]")
        self.threshold = float(threshold)

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        weight = super().weight_out(intersection, anchor_size, candidate_size, out)
        return weight.mul_(weight >= self.threshold)

    def positive(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        jaccard = intersection / ((anchor_size + candidate_size) - intersection)
        return (jaccard >= self.threshold) & (intersection > 0)
