"""The module every contrastive loss derives from, and the loss of any weight rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sdl_study import distributed
from sdl_study.losses.core import Core, Positives
from sdl_study.losses.exchange import Batch, as_label_sets, gather_batch
from sdl_study.losses.label_sets import LabelSets
from sdl_study.losses.positives import RulePositives
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.tiles import TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Num

TILE_EDGE = 512


class _Contrast(torch.autograd.Function):
    """The global loss of the rank's embeddings; the gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, loss: ContrastiveLoss, batch: Batch) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            plan = TilePlan(batch.start, batch.stop, len(batch.labels), TILE_EDGE)
            core = Core(batch, plan, loss.positives(batch, plan), 1 / loss.temperature, loss.cache_bytes)
            result = core.run(loss.process_group, ctx.needs_input_grad[0])
        loss.valid_anchor_fraction = result.valid_fraction
        if result.gradient is not None:
            if loss.gradient_reduction == "mean":
                result.gradient.mul_(batch.world_size)
            ctx.save_for_backward(result.gradient.to(embeddings.dtype))
        return result.loss.to(batch.embeddings.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0].to(gradient.dtype), None, None


class ContrastiveLoss(nn.Module):
    """A multi-label supervised contrastive loss over the global batch.

    Args:
        temperature: τ of the logits z_i·z_j/τ.
        process_group: the ranks that share the batch; None is the default group.
        distributed: "auto" shares the batch whenever torch.distributed is initialised; False never does.
        gradient_reduction: "mean" where gradients are averaged over ranks afterwards (DDP, FSDP), "sum" where
            they are summed or used as they are.
        cache_mib: memory (MiB) that a forward pass may use to keep exponentials and label counts of its tiles,
            which it otherwise computes twice; 0 needs least memory. The value does not change.

    Attributes:
        valid_anchor_fraction: after a forward pass, anchors with a positive among all rows of the global batch.

    Raises:
        ValueError: a temperature that is not a finite number above 0, or an unknown choice.
    """

    valid_anchor_fraction: Tensor

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        process_group: distributed.ProcessGroup | None = None,
        distributed: Literal["auto", False] = "auto",
        gradient_reduction: Literal["mean", "sum"] = "mean",
        cache_mib: float = 256,
    ) -> None:
        super().__init__()
        if not (isinstance(temperature, int | float) and math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature is {temperature!r}; it must be a finite number above 0")
        if distributed not in ("auto", False):
            raise ValueError(f'distributed is {distributed!r}; choose "auto" or False')
        if gradient_reduction not in ("mean", "sum"):
            raise ValueError(f'gradient_reduction is {gradient_reduction!r}; choose "mean" or "sum"')
        self.temperature = float(temperature)
        self.process_group = process_group
        self.distributed = distributed
        self.gradient_reduction = gradient_reduction
        if not (isinstance(cache_mib, int | float) and cache_mib >= 0):
            raise ValueError(f"cache_mib is {cache_mib!r}; it must be a number ≥ 0")
        self.cache_bytes = int(min(cache_mib, 2**40) * 2**20)
        self.valid_anchor_fraction = torch.zeros(())

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        """The positive term over a global batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define positives()")

    def forward(
        self, embeddings: Float[Tensor, "N D"], labels: Num[Tensor, "N L"] | LabelSets
    ) -> Float[Tensor, ""]:
        """The loss of the global batch: the same value on every rank.

        Args:
            embeddings: this rank's embeddings as they are to be compared (normalise them before); N may be 0 and
                may differ between ranks. Every rank of the group has to call the loss in every step.
            labels: their label sets, multi-hot or CSR.

        Raises:
            ValueError: input that does not fit, on any rank; the message names argument, shape and row.
        """
        error: Exception | None = None
        sets: LabelSets | None = None
        try:
            sets = as_label_sets(embeddings, labels)
        except (ValueError, TypeError) as problem:
            error = problem
        sharded = self.distributed == "auto" and distributed.is_initialized()
        batch = gather_batch(embeddings, sets, error, self.process_group, sharded)
        return _Contrast.apply(embeddings, self, batch)


class WeightedContrastiveLoss(ContrastiveLoss):
    """The loss of any weight rule: L = Σ_ij ω_ij (LSE_i − s_ij), ω from the rule and its normaliser.

    Args:
        rule: the weights of positive pairs.
        temperature, **settings: as in `ContrastiveLoss`.
    """

    def __init__(self, rule: WeightRule, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(temperature, **settings)
        if not isinstance(rule, WeightRule):
            raise TypeError(f"rule must be a WeightRule, not {type(rule).__name__}")
        self.rule = rule

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        return RulePositives(self.rule, batch, plan)

    def extra_repr(self) -> str:
        return f"{self.rule!r}, temperature={self.temperature}"
