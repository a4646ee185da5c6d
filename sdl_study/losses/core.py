"""The one core behind all strategies: loss and gradient by tiles, exact over the ranks of a global batch.

L = Σ_ij ω_ij (LSE_i − s_ij) with s_ij = z_i·z_j/τ, and dL/dz_k = Σ_j (g_kj + g_jk) z_j/τ with
g_ij = Ω_i p_ij − ω_ij. A first pass over the rank's tiles gives each of its anchors LSE_i and some sums of
weights; these few numbers are gathered; a second pass then forms the complete gradient of the rank's own rows,
because it knows both g_kj (own anchor) and g_jk (any other's): no collective is left for the backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.losses.exchange import Batch
from sdl_study.losses.positives import LabelPositives, Normalized, RulePositives
from sdl_study.losses.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

SAFE_RANGE = 80.0
"""Logits may span this much around one fixed shift before exp() leaves float32's normal range."""

Positives = RulePositives | LabelPositives


@dataclass(frozen=True)
class Result:
    """Value, local gradient and what is logged.

    Attributes:
        loss: the global loss, the same on every rank.
        gradient: [b, D] dL/dz of the rank's own rows, complete; None if not asked for.
        valid_fraction: anchors with a positive, among all rows of the global batch.
    """

    loss: Float64[Tensor, ""]
    gradient: Float[Tensor, "b D"] | None
    valid_fraction: Float64[Tensor, ""]


class Core:
    """Two passes over one rank's tiles of a global batch."""

    def __init__(self, batch: Batch, positives: Positives, temperature: float, edge: int) -> None:
        self.batch = batch
        self.positives = positives
        self.scale = 1 / temperature
        self.plan = TilePlan(batch.start, batch.stop, len(batch.labels), edge)
        largest = float((batch.embeddings * batch.embeddings).sum(1).max()) if len(batch.labels) else 0.0
        bound = largest * self.scale
        self.shift = bound if 2 * bound < SAFE_RANGE else None

    def run(self, group: distributed.ProcessGroup | None, with_gradient: bool) -> Result:
        """The loss of the global batch, and the gradient of the rank's own rows if asked for."""
        local = self._statistics()
        batch = self.batch
        every = local
        if batch.world_size > 1:
            every = distributed.all_gather_rows(local, group)
        lse, sums = every[:, 0], every[:, 1:]
        normalized = self.positives.normalize(sums)
        loss = (normalized.total * lse).sum() - normalized.positive_logits
        gradient = self._gradient(lse, normalized) if with_gradient else None
        return Result(loss, gradient, normalized.valid_fraction)

    def _logits(self, tile: Tile) -> Float[Tensor, "n m"]:
        z = self.batch.embeddings
        anchors, candidates = z[slice(*tile.rows)], z[slice(*tile.columns)]
        empty = z.new_empty(tile.shape)
        return torch.addmm(empty, anchors, candidates.T, beta=0, alpha=self.scale)

    def _statistics(self) -> Float64[Tensor, "b k"]:
        """LSE_i and the positive term's sums of the own anchors."""
        own = self.batch.stop - self.batch.start
        z = self.batch.embeddings
        total = z.new_zeros(own, dtype=torch.float64)
        top = z.new_full((own,), -math.inf if self.shift is None else self.shift, dtype=torch.float64)
        sums = z.new_zeros((own, self.positives.num_sums), dtype=torch.float64)
        for tile in self.plan:
            logits = self._logits(tile)
            if isinstance(self.positives, RulePositives):
                self.positives.collect(tile, self.positives.counts(tile), logits, sums, self.batch.start)
            if tile.diagonal is not None:
                logits.diagonal(tile.diagonal).fill_(-math.inf)
            self._add_exponentials(tile, logits, total, top)
        lse = torch.where(total > 0, total.log() + top, 0)  # no candidate at all: nothing to compare with
        return torch.cat([lse[:, None], sums], dim=1)

    def _add_exponentials(self, tile: Tile, logits: Tensor, total: Tensor, top: Tensor) -> None:
        start = self.batch.start
        sides = [(tile.rows, 1)] + ([(tile.columns, 0)] if tile.mirrored else [])
        if self.shift is not None:
            exponentials = logits.sub_(self.shift).exp_()
            for part, dim in sides:
                total[part[0] - start : part[1] - start] += exponentials.sum(dim, dtype=torch.float64)
            return
        for part, dim in sides:
            here = slice(part[0] - start, part[1] - start)
            highest = torch.maximum(top[here], logits.amax(dim).double())
            known = highest > -math.inf
            shift = torch.where(known, highest, 0)
            added = (logits - shift.to(logits.dtype).unsqueeze(dim)).exp_().sum(dim, dtype=torch.float64)
            total[here] = total[here] * (torch.where(known, top[here], 0) - shift).exp() + added
            top[here] = highest

    def _gradient(self, lse: Tensor, normalized: Normalized) -> Float[Tensor, "b D"]:
        z = self.batch.embeddings
        start, stop = self.batch.start, self.batch.stop
        gradient = z.new_zeros((stop - start, z.shape[1]), dtype=torch.float64)
        total, scale = normalized.total.to(z.dtype), normalized.scale.to(z.dtype)
        lse = lse.to(z.dtype)
        for tile in self.plan:
            logits = self._logits(tile)
            push = self._push(tile, logits, total, lse)
            if tile.diagonal is not None:
                push.diagonal(tile.diagonal).zero_()
            if isinstance(self.positives, RulePositives):
                self.positives.subtract(tile, self.positives.counts(tile), scale, push)
            gradient[tile.rows[0] - start : tile.rows[1] - start] += push @ z[slice(*tile.columns)]
            if tile.mirrored:
                gradient[tile.columns[0] - start : tile.columns[1] - start] += push.T @ z[slice(*tile.rows)]
        if isinstance(self.positives, LabelPositives):
            gradient -= self.positives.pull(start, stop)
        return gradient.mul_(self.scale).to(z.dtype)

    def _push(self, tile: Tile, logits: Tensor, total: Tensor, lse: Tensor) -> Float[Tensor, "n m"]:
        """Ω_i p_ij + Ω_j p_ji of a tile."""
        rows, columns = slice(*tile.rows), slice(*tile.columns)
        push = (logits - lse[rows, None]).exp_().mul_(total[rows, None])
        push += (logits - lse[None, columns]).exp_().mul_(total[None, columns])
        return push
