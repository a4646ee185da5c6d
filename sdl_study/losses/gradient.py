"""The autograd node of the contrastive losses: the gradient is ready when the forward pass ends.

The gradient is a formula, not a graph, so it has no derivative of its own. Under ``create_graph=True`` it is tied to
what it depends on by a node that raises: a second derivative is refused, where a constant would be silently wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Evaluate = Callable[[bool], tuple[Tensor, Tensor | None, Tensor | None]]
"""Given whether a gradient is wanted: the loss, dL/dz of this rank's rows, and dL/d log τ."""


class _Refuse(torch.autograd.Function):
    """A gradient as it is, depending on ``tie``, with no derivative."""

    @staticmethod
    def forward(_ctx: Any, gradient: Tensor, _tie: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        raise RuntimeError(
            "this loss has no second derivative: its gradient cannot be differentiated again (gradient penalty, "
            "Hessian); leave out create_graph=True, or detach the gradient"
        )


class _Contrast(torch.autograd.Function):
    """The loss of embeddings and log τ, computed by ``evaluate``."""

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, _log_temperature: Tensor | None, tie: Tensor, evaluate: Evaluate
    ) -> Tensor:
        loss, gradient, for_temperature = evaluate(any(ctx.needs_input_grad[:2]))
        if gradient is not None:
            # in half precision it would underflow before a gradient scaler's factor, itself too large for half
            ctx.dtype = embeddings.dtype
            ctx.save_for_backward(gradient.view(embeddings.shape), for_temperature, tie)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        gradient, for_temperature, tie = ctx.saved_tensors
        factor = grad_outputs[0]
        if torch.is_grad_enabled():  # create_graph=True
            gradient = _Refuse.apply(gradient, tie)
            if for_temperature is not None:
                for_temperature = _Refuse.apply(for_temperature, tie)
        if for_temperature is not None:
            for_temperature = for_temperature * factor.to(for_temperature)
        scaled = gradient * factor.to(gradient.dtype)
        return scaled.to(ctx.dtype), for_temperature, None, None


def with_gradient(embeddings: Tensor, log_temperature: Tensor | None, evaluate: Evaluate) -> Tensor:
    """The loss that ``evaluate`` computes, with its gradient for embeddings and log τ in the graph."""
    tie = embeddings[:0].sum()  # a zero that depends on both; it holds no memory of theirs
    if log_temperature is not None:
        tie = tie + log_temperature[:0].sum()
    value = _Contrast.apply(embeddings, log_temperature, tie, evaluate)
    assert isinstance(value, Tensor)
    return value
