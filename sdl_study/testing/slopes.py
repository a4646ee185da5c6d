"""Slopes by central differences, to compare gradients with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-5


def numeric_slopes(value: Callable[[Tensor], float], at: Tensor) -> Tensor:
    """dvalue/dat by central differences."""
    slopes = torch.zeros_like(at)
    for entry in range(at.numel()):
        ends = []
        for sign in (1, -1):
            moved = at.detach().clone()
            moved.view(-1)[entry] += sign * STEP
            ends.append(value(moved))
        slopes.view(-1)[entry] = (ends[0] - ends[1]) / (2 * STEP)
    return slopes
