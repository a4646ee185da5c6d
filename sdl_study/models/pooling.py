"""From hidden states to one vector per example; padding never counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from sdl_study.models.settings import TextPooling


def pool_tokens(
    hidden: Float[Tensor, "n t width"], mask: Int[Tensor, "n t"], how: TextPooling
) -> Float[Tensor, "n width"]:
    """Pool token states: their mean, the first ("cls") or the last token that the mask keeps.

    An example without a single token gets the zero vector.
    """
    if hidden.shape[:2] != mask.shape:
        raise ValueError(f"hidden states {tuple(hidden.shape)} do not fit the mask {tuple(mask.shape)}")
    kept = mask.to(hidden.dtype)
    if how == "mean":
        total = (hidden * kept.unsqueeze(-1)).sum(dim=1)
        return total / kept.sum(dim=1, keepdim=True).clamp(min=1.0)
    if how not in ("cls", "last"):
        raise ValueError(f"pooling is {how!r}; choose from mean, cls, last")
    # Weights that are 1 at the chosen token and 0 elsewhere also give the zero vector where nothing is kept.
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    absent = positions.new_full((), -1 if how == "last" else mask.shape[1])
    candidates = torch.where(mask.bool(), positions, absent)
    chosen = candidates.amax(dim=1) if how == "last" else candidates.amin(dim=1)
    weights = (positions == chosen.unsqueeze(1)).to(hidden.dtype)
    return (hidden * weights.unsqueeze(-1)).sum(dim=1)


def pool_pixels(hidden: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width"]:
    """Global average over the feature map."""
    return hidden.mean(dim=(2, 3))
