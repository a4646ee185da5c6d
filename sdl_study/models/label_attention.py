"""Label attention: a classification head that looks, for every label, at the tokens of a text that speak of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

_DEVIATION = 0.03  # of the weights at the start, as the authors have it
_ELEMENTS = 1 << 24


class LabelAttention(nn.Module):
    """One logit per label from the states h of the tokens: w·Σ a h + b, with label l's own w, b and attention a.

    a = softmax over the tokens of u·tanh(V h), u being the label's own too. Padding has no part in it, and a text
    without a token has the logits b. The sum is taken over w·h, which is the same and needs no state of every label.

    Labels are computed in blocks, whose attention is computed again in the backward pass, so that memory grows with
    the tokens and labels of one block.

    Source: Huang et al. 2022, PLM-ICD, arXiv 2207.05289, section 3.3, after Vu et al. 2020, LAAT, arXiv 2007.06351.
    The authors' own code lets padding have a part in the attention.

    Args:
        width: of the states.
        num_labels: how many logits.
        elements: bound on rows x tokens x labels of one block.
    """

    def __init__(self, width: int, num_labels: int, elements: int = _ELEMENTS) -> None:
        super().__init__()
        self.project = nn.Linear(width, width, bias=False)
        self.attend = nn.Linear(width, num_labels, bias=False)
        self.decide = nn.Linear(width, num_labels)
        self._elements = elements
        for layer in (self.project, self.attend, self.decide):
            nn.init.normal_(layer.weight, std=_DEVIATION)
        bound = 1 / math.sqrt(width)
        nn.init.uniform_(self.decide.bias, -bound, bound)

    @property
    def bias(self) -> Float[Tensor, " num_labels"]:
        """What every logit has before any token counts."""
        return self.decide.bias

    def forward(
        self, states: Float[Tensor, "n t width"], mask: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n num_labels"]:
        """Logits.

        Args:
            states: of all tokens.
            mask: 0 where a token is padding.

        Raises:
            ValueError: states and mask do not fit.
        """
        if states.shape[:2] != mask.shape:
            raise ValueError(f"token states {tuple(states.shape)} do not fit the mask {tuple(mask.shape)}")
        keys, kept = torch.tanh(self.project(states)), mask.bool().unsqueeze(-1)
        labels, block = self.attend.out_features, max(1, self._elements // max(1, mask.numel()))
        parts = []
        for start in range(0, labels, block):
            own = slice(start, start + block)
            given = (states, keys, kept, self.attend.weight[own], self.decide.weight[own])
            again = torch.is_grad_enabled() and block < labels
            parts.append(checkpoint(_summed, *given, use_reentrant=False) if again else _summed(*given))
        return torch.cat(parts, dim=1) + self.decide.bias


def _summed(
    states: Float[Tensor, "n t width"],
    keys: Float[Tensor, "n t width"],
    kept: Bool[Tensor, "n t 1"],
    attend: Float[Tensor, "labels width"],
    decide: Float[Tensor, "labels width"],
) -> Float[Tensor, "n labels"]:
    """The part of some labels' logits that comes from the tokens."""
    scores = (keys @ attend.T).float()
    lowest = torch.finfo(scores.dtype).min  # not -inf: a text without a token would have no weights at all
    weights = scores.masked_fill(~kept, lowest).softmax(dim=1) * kept
    return (weights * (states @ decide.T)).sum(dim=1)
