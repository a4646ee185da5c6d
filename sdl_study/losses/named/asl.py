"""``asl``: the asymmetric loss; focal loss and binary cross-entropy are settings of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sdl_study.losses.checks import number_from_zero, share
from sdl_study.losses.supervised import SupervisedLoss


class AsymmetricLoss(SupervisedLoss):
    """−y (1 − p)^γ₊ log p − (1 − y) q^γ₋ log(1 − q), p = sigmoid(logit), q = max(p − clip, 0), averaged.

    Equal powers without a clip are the focal loss; all three 0 are binary cross-entropy.

    Source: Ridnik et al. 2021, Asymmetric Loss For Multi-Label Classification, arXiv 2009.14119, eq. 7 (4, 1 and .05
    there).

    Args:
        gamma_negative: focusing power of the negatives, ≥ 0.
        gamma_positive: focusing power of the positives, ≥ 0.
        clip: probability subtracted from that of negatives before the logarithm, in [0, 1].
    """

    def __init__(self, gamma_negative: float = 4.0, gamma_positive: float = 1.0, clip: float = 0.05) -> None:
        super().__init__()
        self.gamma_negative = number_from_zero("gamma_negative", gamma_negative)
        self.gamma_positive = number_from_zero("gamma_positive", gamma_positive)
        self.clip = share("clip", clip)

    def elementwise(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.gamma_negative == self.gamma_positive == self.clip == 0:
            return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        positive = torch.sigmoid(logits)
        negative = (1 - positive + self.clip).clamp(max=1)
        gain = targets * positive.clamp(min=1e-8).log() * (1 - positive) ** self.gamma_positive
        loss = (1 - targets) * negative.clamp(min=1e-8).log() * (1 - negative) ** self.gamma_negative
        return -(gain + loss)

    def extra_repr(self) -> str:
        return f"gamma_negative={self.gamma_negative}, gamma_positive={self.gamma_positive}, clip={self.clip}"


LOSS = AsymmetricLoss
