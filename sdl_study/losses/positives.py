"""The positive term Σ ω_ij s_ij of the loss: by weight rule on tiles, or by label without any pair.

ω is never stored. A term delivers, per anchor, some sums over its candidates (`collect`, filled tile by tile on
the rank that owns the anchor), and after these were gathered from all ranks everything else follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study.losses.counting import IntersectionCounter
from sdl_study.losses.label_sets import LabelSets
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.tiles import Tile

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

COUNT, WEIGHT, WEIGHTED_LOGIT = 0, 1, 2
"""Columns of a rule's sums per anchor: positives, Σ weight, Σ weight·s."""


@dataclass(frozen=True)
class Normalized:
    """What the anchors' sums amount to over the global batch.

    Attributes:
        scale: [M] factor that turns a rule's weight into ω (0 for an anchor without positives).
        total: [M] Ω_i = Σ_j ω_ij.
        positive_logits: Σ_ij ω_ij s_ij, or None where the term computes it with its gradient.
        valid_fraction: valid anchors among all rows, 0 for an empty batch.
    """

    scale: Float64[Tensor, " M"]
    total: Float64[Tensor, " M"]
    positive_logits: Float64[Tensor, ""]
    valid_fraction: Float64[Tensor, ""]


class RulePositives:
    """The positive term of a `WeightRule`."""

    num_sums = 3

    def __init__(self, rule: WeightRule, labels: LabelSets, dtype: torch.dtype, device: torch.device) -> None:
        self._rule = rule
        self._counter = IntersectionCounter(labels, dtype, device)
        # an empty set has no shared label, so its size never matters: 1 keeps divisions finite
        self._sizes = torch.from_numpy(labels.sizes).to(device, dtype).clamp_min_(1)

    def counts(self, tile: Tile) -> Float[Tensor, "n m"]:
        """The intersections of a tile, self-pairs 0."""
        return self._counter.count(tile)

    def _shape(
        self, anchors: tuple[int, int], candidates: tuple[int, int], dim: int
    ) -> tuple[Tensor, Tensor]:
        """Sizes of both sides, broadcastable over a tile whose candidates run along `dim`."""
        return self._sizes[slice(*anchors)].unsqueeze(dim), self._sizes[slice(*candidates)].unsqueeze(1 - dim)

    def _weights(
        self, counts: Tensor, anchors: tuple[int, int], candidates: tuple[int, int], dim: int
    ) -> Tensor:
        sizes = self._shape(anchors, candidates, dim)
        weights = self._rule.weight(counts, *sizes)
        if not self._rule.zero_when_disjoint:
            weights = torch.where(counts > 0, weights, 0)
        if self._rule.restricts_positives:
            weights = torch.where(self._rule.positive(counts, *sizes), weights, 0)
        return weights

    def _positive(
        self, counts: Tensor, anchors: tuple[int, int], candidates: tuple[int, int], dim: int
    ) -> Tensor:
        shared = counts > 0
        if self._rule.restricts_positives:
            shared &= self._rule.positive(counts, *self._shape(anchors, candidates, dim))
        return shared

    def collect(
        self, tile: Tile, counts: Tensor, logits: Tensor, sums: Float64[Tensor, "b k"], start: int
    ) -> None:
        """Add a tile's sums to its anchors' rows of `sums` (and to the mirrored anchors')."""
        sides = [(tile.rows, tile.columns, 1)] + ([(tile.columns, tile.rows, 0)] if tile.mirrored else [])
        for anchors, candidates, dim in sides:
            into = sums[anchors[0] - start : anchors[1] - start]
            self._add(into, counts, logits, anchors, candidates, dim)

    def _add(
        self,
        into: Tensor,
        counts: Tensor,
        logits: Tensor,
        anchors: tuple[int, int],
        candidates: tuple[int, int],
        dim: int,
    ) -> None:
        into[:, COUNT] += self._positive(counts, anchors, candidates, dim).sum(dim)
        weights = self._weights(counts, anchors, candidates, dim)
        into[:, WEIGHT] += weights.sum(dim, dtype=torch.float64)
        into[:, WEIGHTED_LOGIT] += weights.mul_(logits).sum(dim, dtype=torch.float64)

    def normalize(self, sums: Float64[Tensor, "M 3"]) -> Normalized:
        """Turn the gathered sums of all anchors into scales; identical on every rank."""
        valid = sums[:, COUNT] > 0
        num_valid = valid.sum()
        divisor = sums[:, COUNT] if self._rule.normalizer == "positives" else sums[:, WEIGHT]
        usable = valid & (divisor > 0)
        scale = torch.where(usable, 1 / (torch.where(usable, divisor, 1) * num_valid.clamp_min(1)), 0)
        return Normalized(
            scale=scale,
            total=scale * sums[:, WEIGHT],
            positive_logits=(scale * sums[:, WEIGHTED_LOGIT]).sum(),
            valid_fraction=num_valid / max(1, sums.shape[0]),
        )

    def subtract(self, tile: Tile, counts: Tensor, scale: Float[Tensor, " M"], pull: Tensor) -> None:
        """Subtract ω_ij + ω_ji of a tile from `pull`."""
        for anchors, candidates, dim in ((tile.rows, tile.columns, 1), (tile.columns, tile.rows, 0)):
            weights = self._weights(counts, anchors, candidates, dim)
            pull -= weights.mul_(scale[slice(*anchors)].unsqueeze(dim))


class LabelPositives:
    """MulSupCon's positive term, label by label: ω = Y diag(1/n') Yᵀ off the diagonal, n' = n_l − 1.

    A label that only one row carries has no positive and is left out.

    Args:
        per_anchor_mean: average each anchor's labels first, then the valid anchors, instead of one mean over all
            (anchor, label) rows.
    """

    num_sums = 0

    def __init__(
        self, labels: LabelSets, embeddings: Float[Tensor, "M D"], temperature: float, per_anchor_mean: bool
    ) -> None:
        device = embeddings.device
        frequencies = torch.from_numpy(labels.counts())
        indices = torch.from_numpy(labels.indices)
        kept = frequencies[indices] >= 2
        self._rows = torch.from_numpy(labels.row_of_entry())[kept].to(device)
        self._labels = torch.unique(indices[kept], return_inverse=True)[1].to(device)
        self._share = 1 / (frequencies[indices[kept]].to(device, torch.float64) - 1)
        self._embeddings = embeddings
        self._inverse_temperature = 1 / temperature
        self._per_anchor_mean = per_anchor_mean

    def normalize(self, sums: Float64[Tensor, "M 0"]) -> Normalized:
        """Scales and the positive term itself, from labels alone; identical on every rank."""
        num_rows = self._embeddings.shape[0]
        held = sums.new_zeros(num_rows).index_add_(0, self._rows, torch.ones_like(self._share))
        valid = held > 0
        if self._per_anchor_mean:
            scale = torch.where(valid, 1 / (held.clamp_min(1) * valid.sum().clamp_min(1)), 0)
        else:
            scale = valid / held.sum().clamp_min(1)
        attracted = self._smooth(scale)
        logits = (attracted * self._embeddings).sum(dtype=torch.float64) * self._inverse_temperature
        self._pull = attracted
        return Normalized(scale, scale * held, logits / 2, valid.sum() / max(1, num_rows))

    def _smooth(self, scale: Tensor) -> Tensor:
        """(ω + ωᵀ) Z, [M, D] in float64 sums."""
        own = torch.zeros_like(scale).index_add_(0, self._rows, self._share)
        total = -2 * (scale * own)[:, None] * self._embeddings
        for outer, inner in ((scale, None), (None, scale)):
            total += self._spread(outer, inner)
        return total

    def _spread(self, outer: Tensor | None, inner: Tensor | None) -> Tensor:
        num_labels = int(self._labels.max()) + 1 if self._labels.numel() else 0
        source = self._embeddings.to(torch.float64)
        if inner is not None:
            source = source * inner[:, None]
        by_label = source.new_zeros((num_labels, source.shape[1]))
        by_label.index_add_(0, self._labels, source[self._rows])
        entries = by_label[self._labels] * self._share[:, None]
        spread = torch.zeros_like(source).index_add_(0, self._rows, entries)
        return spread if outer is None else spread * outer[:, None]

    def pull(self, start: int, stop: int) -> Tensor:
        """Σ_j (ω_kj + ω_jk) z_j of the rows start:stop."""
        return self._pull[start:stop]
