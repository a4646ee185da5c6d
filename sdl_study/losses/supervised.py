"""The module every supervised loss derives from: elementwise over logits and labels, exact over any number of ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.label_sets import LabelSets
from sdl_study.losses.exchange import (
    FINE,
    NOT_FINITE,
    WRONG,
    checked_labels,
    compute_dtype,
    raise_together,
    state_of,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


class SupervisedLoss(nn.Module, ABC):
    """A classification loss: the mean over all rows of the global batch and all labels.

    It is called as the contrastive losses are, with logits for embeddings, and keeps their promises: this rank's
    rows in, the global value out on every rank, the gradient of a single process after DDP's or FSDP's mean.

    A loss of one's own overrides ``elementwise``:

        class Squared(SupervisedLoss):
            def elementwise(self, logits, targets):
                return (logits.sigmoid() - targets) ** 2

    Attributes:
        valid_anchor_fraction: after a forward pass, rows that teach anything: 1, as each is compared with its own
            labels, or 0 where no rank has a row.
    """

    valid_anchor_fraction: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.valid_anchor_fraction = torch.zeros(())

    @abstractmethod
    def elementwise(
        self, logits: Float[Tensor, "n L"], targets: Float[Tensor, "n L"]
    ) -> Float[Tensor, "n L"]:
        """The loss of every row and label; ``targets`` holds zeros and ones."""

    def forward(
        self, logits: Float[Tensor, "n L"], labels: Shaped[Tensor, "n L"] | LabelSets
    ) -> Float[Tensor, ""]:
        """The loss of the global batch: the same value on every rank.

        Args:
            logits: this rank's rows; n may be 0 and may differ between ranks. Every rank has to call the loss in
                every step.
            labels: the n label sets, multi-hot or CSR.

        Raises:
            ValueError: input that does not fit, on any rank; the message names argument, shape and row.
            NonFiniteEmbeddingsError: logits of any rank that are not finite; raised on all ranks.
        """
        sets, count = _agree(logits, labels)
        rows = logits.to(compute_dtype(logits.dtype))
        targets = sets.to_multi_hot(rows.dtype).to(rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            total = self.elementwise(rows, targets).sum()
        self.valid_anchor_fraction = torch.tensor(float(count > 0))
        scale = 1.0 / (max(count, 1) * sets.num_labels)
        value = distributed.all_reduce_sum(total) * scale
        local = total * (scale * distributed.world_size())
        return local + (value - local).detach()


def _agree(logits: Tensor, labels: Tensor | LabelSets) -> tuple[LabelSets, int]:
    """Check this rank's rows and tell the others, in one exchange of counts.

    Returns:
        This rank's label sets, and the number of rows of all ranks.
    """
    error: Exception | None = None
    sets: LabelSets | None = None
    try:
        sets = _checked(logits, labels)
    except (ValueError, TypeError) as problem:
        error = problem
    state, rows, width = state_of(error), 0, 0
    if sets is not None:
        rows, width = len(sets), sets.num_labels
    facts = [rows, state == NOT_FINITE, state == WRONG, width, width**2]
    told = distributed.all_reduce_sum(torch.tensor([int(fact) for fact in facts]))
    count, not_finite, wrong, widths, squares = (int(total) for total in told.tolist())
    raise_together(error, WRONG if wrong else NOT_FINITE if not_finite else FINE, "another rank")
    assert sets is not None  # else raised
    if distributed.world_size() * squares != widths**2:  # equal only where all numbers are
        raise ValueError(f"the ranks disagree: this one has {width} labels, others have not")
    return sets, count


def _checked(logits: Tensor, labels: Tensor | LabelSets) -> LabelSets:
    """One rank's label sets, if they fit its logits [n, L]."""
    if isinstance(logits, Tensor) and logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; [n, L] is needed")
    sets = checked_labels("logits", logits, labels)
    if sets.num_labels != logits.shape[1]:
        raise ValueError(
            f"logits {tuple(logits.shape)} are of {logits.shape[1]} labels, the label sets of {sets.num_labels}"
        )
    return sets
