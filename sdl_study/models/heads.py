"""Heads that training puts on an encoder and that are thrown away afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional

from sdl_study.models.norm import GlobalBatchNorm1d

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class ProjectionHead(nn.Module):
    """Linear, normalisation, ReLU, linear, normalisation: the space in which the contrastive loss is taken.

    ``norm`` "batch" uses the global batch's statistics, which keeps contrastive training from collapsing;
    "none" leaves them out. The second normalisation has no scale and shift of its own. The output is not
    L2-normalised.

    Source: Chen et al. 2020, SimCLR, arXiv 2002.05709, section 3 and appendix B.9 (batch-normalised MLP head).
    """

    def __init__(
        self, in_features: int, hidden: int, out_features: int, norm: Literal["batch", "none"] = "batch"
    ) -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise ValueError(f"norm is {norm!r}; choose from batch, none")
        batch = norm == "batch"
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden, bias=not batch),
            GlobalBatchNorm1d(hidden) if batch else nn.Identity(),
            nn.ReLU(),
            nn.Linear(hidden, out_features, bias=not batch),
            GlobalBatchNorm1d(out_features, affine=False) if batch else nn.Identity(),
        )

    def forward(self, embeddings: Float[Tensor, "n in_features"]) -> Float[Tensor, "n out_features"]:
        """Projections, [n, out_features], not of unit length."""
        return self.layers(embeddings)


class LinearHead(nn.Module):
    """One logit per label, for the arms that train with a classification loss."""

    def __init__(self, in_features: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_labels)

    @property
    def bias(self) -> Float[Tensor, " num_labels"]:
        """What every logit has before any input counts."""
        return self.linear.bias

    def forward(self, embeddings: Float[Tensor, "n in_features"]) -> Float[Tensor, "n num_labels"]:
        """Logits, [n, num_labels]."""
        return self.linear(embeddings)


class JointHead(nn.Module):
    """A projection and logits side by side, for the arms that train with a contrastive and a classification loss."""

    def __init__(self, projection: ProjectionHead, linear: LinearHead) -> None:
        super().__init__()
        self.projection, self.linear = projection, linear

    def forward(self, embeddings: Float[Tensor, "n in_features"]) -> Float[Tensor, "n features_and_labels"]:
        """Projections of unit length and then logits, float32."""
        projected = functional.normalize(self.projection(embeddings).float(), dim=1)
        return torch.cat([projected, self.linear(embeddings).float()], dim=1)
