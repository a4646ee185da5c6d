"""Normalisation that does not depend on how a batch is sharded.

Plain batch normalisation uses each rank's own rows, so a result would change with the number of workers, and
``torch.nn.SyncBatchNorm`` runs on CUDA only. ``GlobalBatchNorm`` takes its statistics over the global batch
by one differentiable all-reduce.

Source of the operation: Ioffe & Szegedy 2015, "Batch Normalization", arXiv 1502.03167, algorithm 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from sdl_study.distributed import all_reduce_sum, is_initialized

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class _AllReduceSum(torch.autograd.Function):
    """y = sum over ranks of x. Every rank's loss depends on y, so the gradient is the sum over ranks, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return all_reduce_sum(x.contiguous())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ARG004
        return all_reduce_sum(grad_outputs[0].contiguous())


def differentiable_all_reduce_sum(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Sum over all ranks, with gradient; every rank has to call it, forward and backward, in the same order."""
    if not is_initialized():
        return x
    reduced = _AllReduceSum.apply(x)
    assert isinstance(reduced, torch.Tensor)
    return reduced


class GlobalBatchNorm(nn.Module):
    """Batch normalisation over the global batch, for [n, features] and [n, features, ...] inputs.

    Training uses the batch's statistics over all ranks, whatever their share of the rows (none included) and
    updates the running ones; evaluation uses the running ones without any collective. A global batch of one
    row has no variance: its output is the bias. Statistics are computed in float32 at least.

    Raises:
        ValueError: the input has no or another number of features.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.eps, self.momentum, self.frozen = features, eps, momentum, frozen
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        if frozen and self.weight is not None and self.bias is not None:
            self.weight.requires_grad_(False)
            self.bias.requires_grad_(False)
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def reset_parameters(self) -> None:
        """Identity: unit scale and running variance, zero shift and running mean."""
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "n features *rest"]) -> Float[Tensor, "n features *rest"]:
        if x.ndim < 2 or x.shape[1] != self.features:
            raise ValueError(f"expected an input of [n, {self.features}, ...], not {tuple(x.shape)}")
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if self.frozen:  # one pass over the input, where the lines below take four
            kept = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(wide, *kept, eps=self.eps).to(x.dtype)
        if self.training:
            centred, variance = self._global_statistics(wide, shape)
        else:
            centred, variance = wide - self.running_mean.view(shape), self.running_var
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None and self.bias is not None:
            normalised = centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        else:
            normalised = centred * scale.view(shape)
        return normalised.to(x.dtype)

    def _global_statistics(self, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Centred input and biased variance, by one message between the ranks.

        Each rank sends its count, its sum and its sum of squares, the last as centred squares plus the mean's
        part (Chan, Golub & LeVeque 1983) in float64, where the final difference cancels nothing that counts.
        """
        axes = [0, *range(2, x.ndim)]
        rows = x.shape[0] * math.prod(x.shape[2:])
        local_mean = x.sum(dim=axes) / max(rows, 1)
        local_squares = (x - local_mean.view(shape)).square().sum(dim=axes).double()
        wide_mean = local_mean.double()
        squares = local_squares + rows * wide_mean.square()
        message = torch.cat([rows * wide_mean, squares, squares.new_full((1,), float(rows))])
        sums = differentiable_all_reduce_sum(message)
        count = sums[-1].detach().clamp(min=1.0)
        wide_mean = sums[: self.features] / count
        wide_variance = (sums[self.features : -1] / count - wide_mean.square()).clamp(min=0.0)
        mean, variance = wide_mean.to(x.dtype), wide_variance.to(x.dtype)
        with torch.no_grad():
            # An empty global batch leaves the running statistics alone; the factor avoids a wait for the device.
            step = self.momentum * (sums[-1] > 0).to(self.running_mean.dtype)
            unbiased = wide_variance * (count / (count - 1.0).clamp(min=1.0))
            self.running_mean.lerp_(wide_mean.to(self.running_mean.dtype), step)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), step)
        return x - mean.view(shape), variance

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}, affine={self.weight is not None}, frozen={self.frozen}"


class GlobalBatchNorm1d(GlobalBatchNorm):
    """``GlobalBatchNorm`` for embeddings [n, features]."""

    def forward(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        if x.ndim != 2:
            raise ValueError(f"expected an input of [n, {self.features}], not {tuple(x.shape)}")
        return super().forward(x)


def _replacement(old: nn.BatchNorm2d, norm: str, groups: int) -> nn.Module:
    if norm == "group":
        return nn.GroupNorm(math.gcd(groups, old.num_features), old.num_features, eps=old.eps)
    momentum = 0.1 if old.momentum is None else old.momentum
    new = GlobalBatchNorm(
        old.num_features, eps=old.eps, momentum=momentum, affine=old.affine, frozen=norm == "frozen"
    )
    new.load_state_dict({k: v for k, v in old.state_dict().items() if k != "num_batches_tracked"})
    return new


def replace_batch_norm(model: nn.Module, norm: str, *, groups: int = 8) -> int:
    """Replace every ``BatchNorm2d`` inside a model and return how many there were.

    Args:
        model: changed in place.
        norm: "group" is group normalisation (learned anew), "sync" takes the statistics of the global batch, "frozen"
            the running statistics and weights, never updated. The last two keep what is there.
        groups: number of groups, or as many as divide the channels.

    Raises:
        ValueError: another word for ``norm``.
    """
    if norm not in ("group", "sync", "frozen"):
        raise ValueError(f"norm is {norm!r}; choose from group, sync, frozen")
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d)
    ]
    for parent, name, child in found:
        setattr(parent, name, _replacement(child, norm, groups))
    return len(found)
