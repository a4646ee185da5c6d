"""The optimizer of all arms and its learning-rate schedule: AdamW, a linear warm-up, then a cosine to zero.

Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, arXiv 1711.05101.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import lr_scheduler

from sdl_study.config import TrainSettings


def build_optimizer(model: nn.Module, train: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; a frozen encoder's are not."""
    return torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
    )


def warmup_then_cosine(
    optimizer: torch.optim.Optimizer, steps: int, warmup_fraction: float
) -> lr_scheduler.LRScheduler:
    """The learning rate over a whole training of ``steps`` updates."""
    warmup = max(1, round(warmup_fraction * steps))
    rise = lr_scheduler.LinearLR(optimizer, 1.0 / warmup, 1.0, total_iters=warmup)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
