"""Sharded losses with the mistakes that published code makes; check_sharded has to catch each of them.

All three compute the loss of the global batch from gathered rows in the obvious way and look right on one process.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.losses import AnyLoss


class _GatherRows(torch.autograd.Function):
    """All ranks' rows; the gradient of every rank's copy is summed and each rank takes its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.counts = distributed.row_counts(rows.shape[0])
        return distributed.all_gather_rows(rows, counts=ctx.counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        start = sum(ctx.counts[: distributed.rank()])
        summed = distributed.all_reduce_sum(grads[0])
        return summed[start : start + ctx.counts[distributed.rank()]]


class NaiveAny(nn.Module):
    """ANY over gathered rows, right: differentiable gather, global V, scaled by W, global value reported."""

    scale_by_world = True
    gather_with_gradient = True
    global_mean = True

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        counts = distributed.row_counts(len(embeddings))
        start = sum(counts[: distributed.rank()])
        if self.gather_with_gradient:
            candidates = _GatherRows.apply(embeddings)
        else:
            candidates = distributed.all_gather_rows(embeddings, counts=counts).clone()
            candidates[start : start + len(embeddings)] = embeddings
        candidate_labels = distributed.all_gather_rows(labels, counts=counts)
        itself = torch.zeros(len(embeddings), len(candidates), dtype=torch.bool)
        itself.diagonal(start).fill_(True)
        logits = embeddings @ candidates.T / self.temperature
        lse = logits.masked_fill(itself, -math.inf).logsumexp(1)
        positive = ((labels @ candidate_labels.T > 0) & ~itself).to(logits.dtype)
        per_anchor = (positive * (lse[:, None] - logits)).sum(1) / positive.sum(1).clamp_min(1)
        num_valid = (positive.sum(1) > 0).sum()
        world = distributed.world_size()
        if self.global_mean:
            part = per_anchor.sum() / distributed.all_reduce_sum(num_valid).clamp_min(1)
        else:
            part = per_anchor.sum() / num_valid.clamp_min(1) / world
        value = distributed.all_reduce_sum(part.detach())
        scaled = part * world if self.scale_by_world else part
        return scaled + (value - scaled).detach()


class WithoutWorldScale(NaiveAny):
    """DDP's mean over ranks is not undone: gradients W times too small."""

    scale_by_world = False


class CandidatesWithoutGradient(NaiveAny):
    """Rows of other ranks are constants: what they owe to this rank's anchors is lost."""

    gather_with_gradient = False


class LocalMean(NaiveAny):
    """Each rank divides by its own valid anchors: a mean of means, wrong where ranks differ."""

    global_mean = False


WRONG = {
    "without world scale": WithoutWorldScale,
    "candidates without gradient": CandidatesWithoutGradient,
    "local mean": LocalMean,
}


def any_at_same_temperature() -> nn.Module:
    return AnyLoss(0.2)
