"""What an arm minimises: a contrastive loss over the projected embeddings, or a supervised one over logits.

Both are called as ``criterion(outputs, labels)`` with this rank's rows, give the global value on every rank, and
after DDP's averaging the gradient of a single process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdl_study import distributed
from sdl_study.arms import ARMS
from sdl_study.config import LossSettings
from sdl_study.losses import LabelSets, RelationWeights, build_loss

if TYPE_CHECKING:
    from jaxtyping import Float


class Criterion(Protocol):
    """A loss over the global batch that also says how many of its rows take part as anchors."""

    valid_anchor_fraction: Tensor

    def __call__(self, outputs: Tensor, labels: LabelSets) -> Tensor: ...


class SupervisedLoss(nn.Module):
    """Binary cross-entropy, or its asymmetric form, averaged over the global batch and the labels.

    Args:
        gamma_negative: focusing power of the negatives; 0 with ``clip`` 0 is binary cross-entropy.
        gamma_positive: focusing power of the positives.
        clip: probability subtracted from that of negatives before the logarithm.

    Source: Ridnik et al. 2021, Asymmetric Loss For Multi-Label Classification, arXiv 2009.14119, eq. 7
    (4, 1 and .05 there).
    """

    valid_anchor_fraction: Tensor

    def __init__(self, gamma_negative: float = 0.0, gamma_positive: float = 0.0, clip: float = 0.0) -> None:
        super().__init__()
        self.gamma_negative, self.gamma_positive, self.clip = gamma_negative, gamma_positive, clip

    def forward(self, logits: Float[Tensor, "n L"], labels: LabelSets) -> Float[Tensor, ""]:
        logits = logits.float()
        targets = labels.to_multi_hot(torch.float32).to(logits.device)
        total = self._elementwise(logits, targets).sum()
        count = distributed.global_count(logits.shape[0])
        self.valid_anchor_fraction = (count > 0).float()  # every row is compared with its own labels
        scale = 1.0 / (max(int(count), 1) * labels.num_labels)
        value = distributed.all_reduce_sum(total) * scale
        local = total * (scale * distributed.world_size())
        return local + (value - local).detach()

    def _elementwise(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.gamma_negative == 0 and self.gamma_positive == 0 and self.clip == 0:
            return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        positive = torch.sigmoid(logits)
        negative = (1 - positive + self.clip).clamp(max=1)
        gain = targets * positive.clamp(min=1e-8).log() * (1 - positive) ** self.gamma_positive
        loss = (1 - targets) * negative.clamp(min=1e-8).log() * (1 - negative) ** self.gamma_negative
        return -(gain + loss)


def build_criterion(arm_name: str, settings: LossSettings) -> Any:
    """The loss of an arm with the study's settings; an arm takes those that its strategy knows."""
    arm = ARMS[arm_name]
    if arm.strategy == "bce":
        return SupervisedLoss()
    if arm.strategy == "asl":
        return SupervisedLoss(gamma_negative=4.0, gamma_positive=1.0, clip=0.05)
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in arm.loss_settings}
    if "relation_weights" in chosen:
        chosen["relation_weights"] = RelationWeights(**settings.relation_weights.model_dump())
    return build_loss(arm.strategy, temperature=settings.temperature, **chosen)
