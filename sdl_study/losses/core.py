"""The one core behind all contrastive losses: loss and gradient by tiles, exact over the ranks of a global batch.

L = Σ_ij ω_ij (LSE_i − s_ij) with s_ij = z_i·z_j/τ, and dL/dz_k = Σ_j (g_kj + g_jk) z_j/τ with
g_ij = Ω_i p_ij − ω_ij. With centred rows c = z − μ the logits are, up to a number per anchor that cancels,
s_ij = t_ij + b_j, t_ij = c_i·c_j/τ (symmetric, so one tile serves both directions) and b_j = μ·c_j/τ.

A first pass over the rank's tiles gives each of its anchors LSE_i and some sums of weights; these few numbers
are gathered; a second pass then forms the complete gradient of the rank's own rows, as it knows both g_kj (own
anchor) and g_jk (any other's): no collective is left for the backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.losses.exchange import Batch
from sdl_study.losses.label_positives import LabelPositives
from sdl_study.losses.positives import Normalized, Range, RulePositives
from sdl_study.losses.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

SAFE_LOGIT = 40.0
"""Up to this size of |t| + |b| exp() and its sums stay far inside float32's range without any shift."""

Positives = RulePositives | LabelPositives


@dataclass(frozen=True)
class Result:
    """Value, local gradient and what is logged.

    Attributes:
        loss: the global loss, the same on every rank.
        gradient: [b, D] dL/dz of the rank's own rows, complete; None if not asked for.
        valid_fraction: anchors with a positive, among all rows of the global batch.
        total_weight: Σ_ij ω_ij.
    """

    loss: Float64[Tensor, ""]
    gradient: Float[Tensor, "b D"] | None
    valid_fraction: Float64[Tensor, ""]
    total_weight: Float64[Tensor, ""]


class Core:
    """Two passes over one rank's tiles of a global batch.

    Args:
        batch: the global batch as this rank sees it.
        plan: the rank's tiles.
        positives: the positive term over the same batch and plan.
        inverse_temperature: 1/τ.
        cache_bytes: what the first pass may keep for the second; the rest is computed twice.
    """

    def __init__(
        self, batch: Batch, plan: TilePlan, positives: Positives, inverse_temperature: float, cache_bytes: int
    ) -> None:
        self.batch = batch
        self.plan = plan
        self.positives = positives
        self.by_rule = positives if isinstance(positives, RulePositives) else None
        self.scale = inverse_temperature
        self.cache_bytes = cache_bytes
        rows = batch.rows
        self.bias = torch.mv(rows, batch.center).mul_(inverse_temperature)
        largest = float(torch.linalg.vector_norm(rows, dim=1).max()) if rows.numel() else 0.0
        shifts = float(self.bias.abs().max()) if rows.numel() else 0.0
        self.safe = largest**2 * inverse_temperature + shifts < SAFE_LOGIT
        self._exp_bias = self.bias.exp() if self.safe else self.bias
        self._kept: dict[Tile, tuple[Tensor, Tensor | None]] = {}
        self._scratch: dict[str, Tensor] = {}

    def run(self, group: distributed.ProcessGroup | None, with_gradient: bool) -> Result:
        """The loss of the global batch, and the gradient of the rank's own rows if asked for."""
        every = self._statistics(keep=with_gradient)
        if self.batch.world_size > 1:
            every = distributed.all_gather_rows(every, group, self.batch.counts)
        lse, sums = every[:, 0], every[:, 1:]
        normalized = self.positives.normalize(sums)
        loss = (normalized.total * lse).sum() - normalized.positive_logits
        gradient = self._gradient(lse, normalized) if with_gradient else None
        return Result(loss, gradient, normalized.valid_fraction, normalized.total.sum())

    def _buffer(self, name: str, tile: Tile) -> Float[Tensor, "n m"]:
        """Memory for one tile that is used again for the next."""
        needed = tile.shape[0] * tile.shape[1]
        if name not in self._scratch or self._scratch[name].numel() < needed:
            self._scratch[name] = self.batch.rows.new_empty(needed)
        return self._scratch[name][:needed].view(tile.shape)

    def _logits(self, tile: Tile) -> Float[Tensor, "n m"]:
        """t_ij of a tile."""
        rows = self.batch.rows
        out = self._buffer("logits", tile)
        anchors, candidates = rows[slice(*tile.rows)], rows[slice(*tile.columns)]
        return torch.addmm(out, anchors, candidates.T, beta=0, alpha=self.scale, out=out)

    def _counts(self, tile: Tile) -> Float[Tensor, "n m"] | None:
        """Shared labels of a tile; None where the positive term needs no pairs."""
        if self.by_rule is None:
            return None
        return self.by_rule.counter.count(tile, self._buffer("counts", tile))

    def _statistics(self, keep: bool) -> Float64[Tensor, "b k"]:
        """LSE_i and the positive term's sums of the own anchors."""
        own = self.batch.stop - self.batch.start
        rows = self.batch.rows
        total = rows.new_zeros(own, dtype=torch.float64)
        top = rows.new_full((own,), 0.0 if self.safe else -math.inf, dtype=torch.float64)
        sums = rows.new_zeros((own, self.positives.num_sums), dtype=torch.float64)
        for tile in self.plan.tiles:
            logits, counts = self._logits(tile), self._counts(tile)
            if counts is not None and self.by_rule is not None:
                self.by_rule.collect(tile, counts, logits, self.bias, sums, self.batch.start)
            if tile.diagonal is not None:
                logits.diagonal(tile.diagonal).fill_(-math.inf)
            if self.safe:
                logits = self._add_exponentials(tile, logits, total, keep)
            else:
                self._add_shifted_exponentials(tile, logits, total, top)
            if keep:
                self._keep(tile, logits, counts)
        lse = torch.where(total > 0, total.log() + top, 0)  # 0 without any candidate
        return torch.cat([lse[:, None], sums], dim=1)

    def _own(self, tile: Tile) -> list[tuple[slice, Range, int]]:
        """Rows of this rank whose sums a tile feeds, their candidates, and the dimension these run along."""
        start = self.batch.start
        sides = [(slice(tile.rows[0] - start, tile.rows[1] - start), tile.columns, 1)]
        if tile.mirrored:
            sides.append((slice(tile.columns[0] - start, tile.columns[1] - start), tile.rows, 0))
        return sides

    def _add_exponentials(self, tile: Tile, logits: Tensor, total: Tensor, keep: bool) -> Tensor:
        """Add Σ_j exp(t_ij + b_j); return exp(t_ij)."""
        fits = keep and not self.plan.is_plain and self.cache_bytes >= logits.numel() * logits.element_size()
        exponentials = torch.exp(logits) if fits else logits.exp_()
        for own, candidates, dim in self._own(tile):
            total[own] += torch.mv(
                exponentials if dim else exponentials.T, self._exp_bias[slice(*candidates)]
            )
        return exponentials

    def _add_shifted_exponentials(self, tile: Tile, logits: Tensor, total: Tensor, top: Tensor) -> None:
        """The same relative to each anchor's largest logit so far."""
        for own, candidates, dim in self._own(tile):
            bias = self.bias[slice(*candidates)].unsqueeze(1 - dim)
            shifted = torch.add(logits, bias, out=self._buffer("other", tile))
            highest = torch.maximum(top[own], shifted.amax(dim).double())
            known = highest > -math.inf  # a tile may hold no candidate but the anchor itself
            shift = torch.where(known, highest, 0)
            added = shifted.sub_(shift.to(logits.dtype).unsqueeze(dim)).exp_().sum(dim)
            total[own] = total[own] * (top[own] - shift).exp() + added
            top[own] = highest

    def _keep(self, tile: Tile, values: Tensor, counts: Tensor | None) -> None:
        """Keep a tile's exponentials (logits where no shift is safe) and counts while the budget lasts."""
        if self.plan.is_plain:  # the one tile stays where it is
            self._kept[tile] = values, counts
            return
        counter = None if self.by_rule is None else self.by_rule.counter
        needed = values.numel() * values.element_size()
        if counter is not None:
            needed += values.numel() * counter.storage.itemsize
        if needed > self.cache_bytes:
            return
        self.cache_bytes -= needed
        small = counts.to(counter.storage) if counts is not None and counter is not None else None
        # exponentials that fit have memory of their own, logits lie in the scratch memory
        self._kept[tile] = values if self.safe else values.clone(), small

    def _gradient(self, lse: Tensor, normalized: Normalized) -> Float[Tensor, "b D"]:
        """Σ_j G_kj z_j/τ = (Σ_j G_kj c_j + μ Σ_j G_kj)/τ of the own rows, G_kj = g_kj + g_jk."""
        rows = self.batch.rows
        start, stop = self.batch.start, self.batch.stop
        gradient = rows.new_zeros((stop - start, rows.shape[1]))
        along_center = rows.new_zeros(stop - start, dtype=torch.float64)
        scale = normalized.scale.to(rows.dtype)
        factor = (normalized.total * torch.exp(-lse) if self.safe else normalized.total).to(rows.dtype)
        lse = lse.to(rows.dtype)
        for tile in self.plan.tiles:
            values, counts = self._recall(tile)
            push = self._push(tile, values, factor, lse)
            if counts is not None and self.by_rule is not None:
                self.by_rule.subtract(tile, counts, scale, push)
            for own, candidates, dim in self._own(tile):
                along_center[own].add_(push.sum(dim))
                gradient[own].addmm_(push if dim else push.T, rows[slice(*candidates)], alpha=self.scale)
        if isinstance(self.positives, LabelPositives):
            attracted, along = self.positives.pull(start, stop)
            gradient -= attracted * self.scale
            along_center -= along
        return gradient.addr_(along_center.to(rows.dtype), self.batch.center, alpha=self.scale)

    def _recall(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """What ``_keep`` kept of a tile, or the same computed again."""
        if tile in self._kept:
            values, small = self._kept.pop(tile)
            if self.plan.is_plain:
                return values, small
            return values, None if small is None else self._buffer("counts", tile).copy_(small)
        logits = self._logits(tile)
        if tile.diagonal is not None:
            logits.diagonal(tile.diagonal).fill_(-math.inf)
        return logits.exp_() if self.safe else logits, self._counts(tile)

    def _push(self, tile: Tile, values: Tensor, factor: Tensor, lse: Tensor) -> Float[Tensor, "n m"]:
        """Ω_i p_ij + Ω_j p_ji of a tile."""
        rows, columns = slice(*tile.rows), slice(*tile.columns)
        out = self._buffer("push", tile)
        if self.safe:
            bias = self._exp_bias
            torch.mul(factor[rows, None], bias[None, columns], out=out)
            return out.addcmul_(bias[rows, None], factor[None, columns]).mul_(values)
        other = self._buffer("other", tile)
        torch.sub(values, lse[rows, None], out=out).add_(self.bias[None, columns]).exp_()
        torch.sub(values, lse[None, columns], out=other).add_(self.bias[rows, None]).exp_()
        return out.mul_(factor[rows, None]).addcmul_(other, factor[None, columns])
