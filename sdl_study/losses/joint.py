"""Two losses at once: a classification loss of logits, and a contrastive loss of embeddings with a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from sdl_study.label_sets import LabelSets
from sdl_study.losses.base import ContrastiveLoss
from sdl_study.losses.supervised import SupervisedLoss

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


class JointLoss(nn.Module):
    """classification(logits) + weight · contrastive(embeddings), each over the global batch.

    Both keep their promises: this rank's rows in, the global value out on every rank, the gradient of a single process
    after DDP's or FSDP's mean. So does their sum.

    Args:
        classification: of logits.
        contrastive: of embeddings.
        weight: of the contrastive one, > 0.
        features: width of the embeddings.

    Attributes:
        valid_anchor_fraction: after a forward pass, rows that teach anything: all of them, by the classification loss.
    """

    valid_anchor_fraction: Tensor

    def __init__(
        self, classification: SupervisedLoss, contrastive: ContrastiveLoss, weight: float, features: int
    ) -> None:
        super().__init__()
        self.classification, self.contrastive = classification, contrastive
        self.weight, self.features = weight, features

    def forward(
        self, outputs: Float[Tensor, "n features_and_labels"], labels: Shaped[Tensor, "n L"] | LabelSets
    ) -> Float[Tensor, ""]:
        """The loss of the global batch: the same value on every rank.

        Args:
            outputs: this rank's rows, embeddings and then logits.
            labels: their label sets.

        Raises:
            ValueError, NonFiniteEmbeddingsError: as the two losses, on every rank alike.
        """
        embeddings, logits = outputs.split([self.features, outputs.shape[1] - self.features], dim=1)
        contrastive = self.contrastive(embeddings, labels)
        classification = self.classification(logits, labels)
        self.valid_anchor_fraction = self.classification.valid_anchor_fraction
        return classification + self.weight * contrastive

    def extra_repr(self) -> str:
        return f"weight={self.weight}, features={self.features}"
