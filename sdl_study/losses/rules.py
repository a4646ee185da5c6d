"""Weight rules: what a positive pair counts, as a function of three numbers.

A rule sees the pairs of a tile as (intersection |S∩T|, anchor size |S|, candidate size |T|) and returns their
weights. Tiling, sharding, gradients and masks are the core's work: a pair without a shared label, and an anchor
with itself, never count, whatever the rule returns for them. Sizes of empty sets are shown as 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sdl_study.losses.checks import choice

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Normalizer = Literal["positives", "weights"]
NORMALIZERS = ("positives", "weights")


class WeightRule(ABC):
    """An elementwise function (intersection, anchor size, candidate size) → weight, and a normaliser.

    ω_ij = weight_ij / (|P(i)|·V) with normalizer "positives", weight_ij / (Σ_{P(i)} weight · V) with "weights".
    P(i) are the candidates that share a label with the anchor and satisfy ``positive``; V counts the anchors of
    the global batch with a non-empty P(i).

    A rule of one's own overrides ``weight``; the sizes are broadcast over the tile, whose anchors are its rows or, in a
    mirrored tile, its columns; weights are finite and ≥ 0 wherever the intersection is ≥ 1:

        class Halving(WeightRule):
            def weight(self, intersection, anchor_size, candidate_size):
                return 0.5 ** (candidate_size - intersection)

    Attributes:
        normalizer: "positives" or "weights".
        symmetric: set it where anchor and candidate may be exchanged; it halves the work on weights.
        zero_when_disjoint: set it where ``weight`` is 0 by itself at intersection 0; it spares one mask per tile.
        restricts_positives: set it where ``positive`` is overridden; it spares the call elsewhere.
    """

    normalizer: Normalizer = "positives"
    symmetric: bool = False
    zero_when_disjoint: bool = False
    restricts_positives: bool = False

    def __init__(self, normalizer: Normalizer = "positives") -> None:
        choice("normalizer", normalizer, NORMALIZERS)
        self.normalizer = normalizer

    @abstractmethod
    def weight(
        self,
        intersection: Float[Tensor, "n m"],
        anchor_size: Float[Tensor, "#n #m"],
        candidate_size: Float[Tensor, "#n #m"],
    ) -> Float[Tensor, "n m"]:
        """The weight of every pair of a tile, in the dtype of ``intersection``, as a tensor of its own."""

    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Float[Tensor, "n m"]:
        """``weight``, which may write into the memory of ``out`` (the core's tile) and return it."""
        return self.weight(intersection, anchor_size, candidate_size)

    def positive(
        self,
        intersection: Float[Tensor, "n m"],
        anchor_size: Float[Tensor, "#n #m"],
        candidate_size: Float[Tensor, "#n #m"],
    ) -> Bool[Tensor, "n m"]:
        """Which pairs are positives, among those with a shared label; by default all of them."""
        return intersection > 0

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class BufferedRule(WeightRule):
    """A rule written for speed: it defines ``weight_out``, and ``weight`` follows."""

    @abstractmethod
    def weight_out(
        self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
    ) -> Tensor:
        """As in ``WeightRule``."""

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
