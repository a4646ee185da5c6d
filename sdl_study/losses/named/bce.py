"""``bce``: binary cross-entropy, the plain classification loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sdl_study.losses.supervised import SupervisedLoss


class BinaryCrossEntropyLoss(SupervisedLoss):
    """−y log p − (1 − y) log(1 − p), p = sigmoid(logit), averaged over rows and labels."""

    def elementwise(self, logits: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


LOSS = BinaryCrossEntropyLoss
