"""The positive term of a weight rule, tile by tile; its weights are never stored.

Per anchor the tiles add up a few sums over its candidates (``collect``); once these were gathered from all ranks,
``normalize`` turns them into the factors that make ω of a weight, and ``subtract`` takes ω out of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study.losses.counting import IntersectionCounter
from sdl_study.losses.exchange import Batch
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

COUNT, WEIGHT, WEIGHTED_LOGIT = 0, 1, 2
"""Columns of a rule's sums per anchor: positives, Σ weight, Σ weight·s."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Normalized:
    """What the anchors' sums amount to over the global batch; identical on every rank.

    Attributes:
        scale: [M] factor that turns a weight into ω (0 for an anchor without positives).
        total: [M] Ω_i = Σ_j ω_ij.
        positive_logits: Σ_ij ω_ij s_ij.
        valid_fraction: valid anchors among all rows, 0 for an empty batch.
    """

    scale: Float64[Tensor, " M"]
    total: Float64[Tensor, " M"]
    positive_logits: Float64[Tensor, ""]
    valid_fraction: Float64[Tensor, ""]


class RulePositives:
    """The positive term of a ``WeightRule`` over a global batch."""

    num_sums = 3

    def __init__(self, rule: WeightRule, batch: Batch, plan: TilePlan) -> None:
        dtype, device = batch.rows.dtype, batch.rows.device
        self.rule = rule
        self.counter = IntersectionCounter(batch.labels, plan.column_blocks, dtype, device)
        # an empty set has no shared label, so its size never matters: 1 keeps divisions finite
        self._sizes = torch.from_numpy(batch.labels.sizes).to(device, dtype).clamp_min_(1)
        self._scratch: dict[str, Tensor] = {}

    def sides(self, tile: Tile) -> list[tuple[Range, Range, int]]:
        """(anchors, candidates, dimension along which the candidates run) of a tile, and of its mirror."""
        return [(tile.rows, tile.columns, 1)] + ([(tile.columns, tile.rows, 0)] if tile.mirrored else [])

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """Memory for one tile that is used again for the next."""
        if name not in self._scratch or self._scratch[name].numel() < like.numel():
            self._scratch[name] = torch.empty_like(like).flatten()
        return self._scratch[name][: like.numel()].view(like.shape)

    def sizes(self, anchors: Range, candidates: Range, dim: int) -> tuple[Tensor, Tensor]:
        """Set sizes of anchors and candidates, to be broadcast over a tile."""
        return self._sizes[slice(*anchors)].unsqueeze(dim), self._sizes[slice(*candidates)].unsqueeze(1 - dim)

    def weights(self, counts: Tensor, anchors: Range, candidates: Range, dim: int) -> Float[Tensor, "n m"]:
        """The weights of a tile, 0 where a pair is no positive."""
        sizes = self.sizes(anchors, candidates, dim)
        weights = self.rule.weight_out(counts, *sizes, self._buffer("weights", counts))
        if not self.rule.zero_when_disjoint:
            weights = torch.where(counts > 0, weights, 0)
        if self.rule.restricts_positives:
            weights = torch.where(self.rule.positive(counts, *sizes), weights, 0)
        return weights

    def tile_weights(
        self, tile: Tile, counts: Tensor, anchors: Range, candidates: Range, dim: int
    ) -> Float[Tensor, "n m"]:
        """The weights of one side of a tile before any normaliser (for diagnostics)."""
        return self.weights(counts, anchors, candidates, dim)

    def positive(self, counts: Tensor, anchors: Range, candidates: Range, dim: int) -> Float[Tensor, "n m"]:
        """1 where a pair of a tile is a positive, else 0."""
        shared = torch.sign(counts, out=self._buffer("positive", counts))
        if self.rule.restricts_positives:
            shared *= self.rule.positive(counts, *self.sizes(anchors, candidates, dim))
        return shared

    def collect(
        self,
        tile: Tile,
        counts: Float[Tensor, "n m"],
        logits: Float[Tensor, "n m"],
        bias: Float[Tensor, " M"],
        sums: Float64[Tensor, "b k"],
        start: int,
    ) -> None:
        """Add a tile's sums to the rows of its anchors, and of the mirrored ones; row 0 is row ``start``.

        ``logits`` and ``bias`` are t_ij and b_j: s_ij is their sum.
        """
        sides = self.sides(tile)
        groups = [sides] if self.rule.symmetric else [[side] for side in sides]
        for group in groups:
            positive, weights = self.positive(counts, *group[0]), self.weights(counts, *group[0])
            rows = [sums[anchors[0] - start : anchors[1] - start] for anchors, _, _ in group]
            for into, (_, candidates, dim) in zip(rows, group, strict=True):
                into[:, COUNT].add_(positive.sum(dim))
                into[:, WEIGHT].add_(weights.sum(dim))
                into[:, WEIGHTED_LOGIT].add_(
                    torch.mv(weights if dim else weights.T, bias[slice(*candidates)])
                )
            weights *= logits
            for into, (_, _, dim) in zip(rows, group, strict=True):
                into[:, WEIGHTED_LOGIT].add_(weights.sum(dim))

    def normalize(self, sums: Float64[Tensor, "M k"]) -> Normalized:
        """Turn the gathered sums of all anchors into scales."""
        valid = sums[:, COUNT] > 0
        num_valid = valid.sum()
        divisor = self.divisor(sums) * num_valid.clamp_min(1)
        usable = valid & (divisor > 0)
        scale = torch.where(usable, 1 / torch.where(usable, divisor, 1), 0)
        return Normalized(
            scale=scale,
            total=scale * sums[:, WEIGHT],
            positive_logits=(scale * sums[:, WEIGHTED_LOGIT]).sum(),
            valid_fraction=num_valid.double() / max(1, sums.shape[0]),
        )

    def divisor(self, sums: Float64[Tensor, "M k"]) -> Float64[Tensor, " M"]:
        """What an anchor's weights are divided by, besides V."""
        return sums[:, COUNT] if self.rule.normalizer == "positives" else sums[:, WEIGHT]

    def subtract(
        self, tile: Tile, counts: Float[Tensor, "n m"], scale: Float[Tensor, " M"], pull: Float[Tensor, "n m"]
    ) -> None:
        """Subtract ω_ij + ω_ji of a tile from ``pull``."""
        rows, columns = scale[slice(*tile.rows), None], scale[None, slice(*tile.columns)]
        weights = self.weights(counts, tile.rows, tile.columns, 1)
        if self.rule.symmetric:
            pull.addcmul_(weights, rows + columns, value=-1)
            return
        pull.addcmul_(weights, rows, value=-1)
        pull.addcmul_(self.weights(counts, tile.columns, tile.rows, 0), columns, value=-1)
