"""What the ranks tell each other before a loss: row counts, errors, embeddings and label sets.

Every rank takes part in the same collectives in the same order, also a rank without rows and also one whose
input is wrong: it reports the error first, and all ranks raise together instead of waiting for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.label_sets import LabelSets
from sdl_study.losses.errors import NonFiniteEmbeddingsError

if TYPE_CHECKING:
    from jaxtyping import Float

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Batch:
    """The global batch as one rank sees it.

    A loss depends on differences of an anchor's logits alone, so embeddings may be centred: z_i·(z_j − μ) shifts
    all logits of anchor i by the same number. Rounding is relative to what remains, which is little for the
    nearly equal embeddings of a collapsed encoder.

    Attributes:
        rows: [M, D] z − μ of all ranks' rows in rank order, in the dtype of the computation, detached.
        center: [D] μ, the mean row.
        labels: their M label sets.
        start, stop: this rank's rows.
        counts: rows of each rank that shares the batch.
    """

    rows: Float[Tensor, "M D"]
    center: Float[Tensor, " D"]
    labels: LabelSets
    start: int
    stop: int
    counts: tuple[int, ...]

    @property
    def world_size(self) -> int:
        """Number of ranks that share the batch."""
        return len(self.counts)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def as_label_sets(embeddings: Tensor, labels: Tensor | LabelSets) -> LabelSets:
    """Check one rank's embeddings [N, D] or [N, V, D] and labels; return one label set per sample.

    Raises:
        ValueError: embeddings that are not dense floating point [N, D] or [N, V, D]; labels of another length,
            on another device, or not multi-hot. The message names argument, shape and row.
        NonFiniteEmbeddingsError: embeddings that are not finite, and nothing else is wrong.
        TypeError: arguments of another kind.
    """
    if isinstance(embeddings, Tensor) and embeddings.ndim not in (2, 3):
        shape = tuple(embeddings.shape)
        raise ValueError(
            f"embeddings have shape {shape}; [N, D] is needed, or [N, V, D] for V views of each sample"
        )
    return checked_labels("embeddings", embeddings, labels)


def checked_labels(name: str, rows: Tensor, labels: Tensor | LabelSets) -> LabelSets:
    """Check one rank's rows [N, ...] of any loss, and their labels; errors are those of ``as_label_sets``."""
    if not isinstance(rows, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(rows).__name__}")
    shape = tuple(rows.shape)
    if rows.dtype not in _DTYPES:
        raise ValueError(f"{name} {shape} have dtype {rows.dtype}; a floating-point dtype is needed")
    if rows.layout != torch.strided:
        raise ValueError(f"{name} {shape} have layout {rows.layout}; a dense tensor is needed")
    if rows.shape[-1] == 0:
        raise ValueError(f"{name} have shape {shape}; rows of at least one number are needed")
    if not isinstance(labels, LabelSets):
        labels = _from_multi_hot(name, rows, labels)
    if len(labels) != rows.shape[0]:
        row = min(len(labels), rows.shape[0])
        raise ValueError(
            f"labels hold {len(labels)} rows, {name} {shape} hold {rows.shape[0]}: row {row} has no partner"
        )
    _check_finite(name, rows.detach())
    return labels


def _check_finite(name: str, rows: Tensor) -> None:
    if math.isfinite(float(rows.sum(dtype=compute_dtype(rows.dtype)))):
        return  # one cheap pass; a sum may overflow without a fault, so only the next test decides
    wrong = ~torch.isfinite(rows)
    if bool(wrong.any()):
        row = int(wrong.flatten(1).any(dim=1).to(torch.uint8).argmax())
        raise NonFiniteEmbeddingsError(f"{name} {tuple(rows.shape)}: row {row} holds NaN or infinity")


def _from_multi_hot(name: str, rows: Tensor, labels: Tensor) -> LabelSets:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a multi-hot tensor or LabelSets, not {type(labels).__name__}")
    if labels.device != rows.device:
        raise ValueError(
            f"labels {tuple(labels.shape)} are on {labels.device}, "
            f"{name} {tuple(rows.shape)} on {rows.device}; row 0 and all others need one device"
        )
    return LabelSets.from_multi_hot(labels)


FINE, NOT_FINITE, WRONG = 0, 1, 2
"""What a rank tells the others of its input."""


def state_of(error: Exception | None) -> int:
    """What a rank tells of its input, given the error that its check raised."""
    if error is None:
        return FINE
    return NOT_FINITE if isinstance(error, NonFiniteEmbeddingsError) else WRONG


def raise_together(error: Exception | None, worst: int, of_rank: str) -> None:
    """Raise on every rank where some rank's input is not fine: one kind of error for all.

    Args:
        error: this rank's own, if any.
        worst: the largest state of all ranks.
        of_rank: the words that name the rank of that state to the others.

    Raises:
        NonFiniteEmbeddingsError: some rank's rows are not finite, and no input is wrong.
        ValueError, TypeError: some rank's input is wrong.
    """
    if worst == FINE:
        return
    if error is not None and state_of(error) == worst:
        raise error
    if worst == NOT_FINITE:
        raise NonFiniteEmbeddingsError(f"{of_rank} holds NaN or infinity; its own error names the row")
    raise ValueError(f"{of_rank} was given wrong input; its own error names the argument and the row")


def gather_batch(
    embeddings: Tensor,
    labels: LabelSets | None,
    error: Exception | None,
    group: distributed.ProcessGroup | None,
    sharded: bool,
) -> Batch:
    """Assemble the global batch of all ranks; where one rank's input is wrong, all ranks raise.

    Args:
        labels, error: this rank's checked labels, or the error that the check raised.
        sharded: False treats this process as the whole world.

    Raises:
        ValueError: on every rank, if any rank reported an error or the ranks disagree about D or L.
        NonFiniteEmbeddingsError: on every rank, if some rank's embeddings are not finite.
    """
    if not sharded or distributed.world_size(group) == 1:
        if error is not None or labels is None:
            raise error or ValueError("labels are missing")
        labels = _per_row(embeddings, labels)
        rows, center = _centred(_rows(embeddings))
        return Batch(rows, center, labels, 0, len(labels), (len(labels),))
    if labels is not None and error is None:
        labels = _per_row(embeddings, labels)
    counts, entries = _agree(embeddings, labels, error, group)
    assert labels is not None  # else _agree raised
    rows, center = _centred(distributed.all_gather_rows(_rows(embeddings), group, counts))
    sizes = distributed.all_gather_rows(torch.from_numpy(labels.sizes), group, counts)
    indices = distributed.all_gather_rows(torch.from_numpy(labels.indices), group, entries)
    indptr = np.concatenate([[0], np.cumsum(sizes.numpy(), dtype=np.int64)])
    every_label = LabelSets._trusted(indptr, indices.numpy(), labels.num_labels)
    start = sum(counts[: distributed.rank(group)])
    return Batch(rows, center, every_label, start, start + len(labels), tuple(counts))


def _rows(embeddings: Tensor) -> Float[Tensor, "M D"]:
    """All views of all samples as rows, in the dtype of the computation."""
    rows = embeddings.detach().flatten(0, -2)
    return rows.to(compute_dtype(embeddings.dtype))


def _centred(rows: Float[Tensor, "M D"]) -> tuple[Float[Tensor, "M D"], Float[Tensor, " D"]]:
    """Rows without their mean, and the mean."""
    center = rows.mean(0) if rows.shape[0] else rows.new_zeros(rows.shape[1])
    return rows - center, center


def _per_row(embeddings: Tensor, labels: LabelSets) -> LabelSets:
    """One label set per row: a sample's views share its set."""
    return labels if embeddings.ndim == 2 else labels.repeat_interleave(embeddings.shape[1])


def _agree(
    embeddings: Tensor,
    labels: LabelSets | None,
    error: Exception | None,
    group: distributed.ProcessGroup | None,
) -> tuple[list[int], list[int]]:
    """Exchange sizes and errors; return every rank's number of rows and of label entries."""
    if error is None and labels is not None:
        dtype = _DTYPES.index(embeddings.dtype)
        facts = [FINE, len(labels), labels.indices.size, embeddings.shape[-1], labels.num_labels, dtype]
    else:
        facts = [state_of(error), 0, 0, 0, 0, 0]
    table = distributed.all_gather_same(torch.tensor(facts), group)
    states = table[:, 0].tolist()
    raise_together(error, max(states), f"rank {states.index(max(states))}")
    for column, name in ((3, "embedding sizes D"), (4, "numbers of labels L")):
        values = table[:, column].tolist()
        if len(set(values)) > 1:
            raise ValueError(f"the ranks disagree: {name} are {values} (by rank)")
    if len(set(table[:, 5].tolist())) > 1:
        dtypes = [str(_DTYPES[int(code)]) for code in table[:, 5].tolist()]
        raise ValueError(f"the ranks disagree: embeddings dtypes are {dtypes} (by rank)")
    return table[:, 1].tolist(), table[:, 2].tolist()
