"""Heads that training puts on an encoder and that are thrown away afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from sdl_study.models.norm import GlobalBatchNorm1d

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class ProjectionHead(nn.Module):
    """Linear, normalisation, ReLU, linear, normalisation: the space in which the contrastive loss is taken.

    ``norm`` "batch" uses the global batch's statistics, which keeps contrastive training from collapsing;
    "none" leaves them out. The second normalisation has no scale and shift of its own. The output is not
    L2-normalised.

    Source: Chen et al. 2020, SimCLR, arXiv 2002.05709, section 3 and appendix B.9 (batch-normalised MLP
    head).
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
        return self.layers(embeddings)


class LinearHead(nn.Module):
    """One logit per label, for the arms that train with a classification loss.

    The bias starts at the log-odds of ``prior`` when it is given (label frequencies in train, [num_labels]),
    so that the first steps are not spent on learning that labels are rare.
    """

    def __init__(
        self, in_features: int, num_labels: int, prior: Float[Tensor, " num_labels"] | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_labels)
        if prior is not None:
            if prior.shape != (num_labels,):
                raise ValueError(f"prior has shape {tuple(prior.shape)}, expected ({num_labels},)")
            with torch.no_grad():
                self.linear.bias.copy_(torch.logit(prior.clamp(1e-4, 1 - 1e-4)))

    def forward(self, embeddings: Float[Tensor, "n in_features"]) -> Float[Tensor, "n num_labels"]:
        return self.linear(embeddings)
