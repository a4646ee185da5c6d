"""How a rank computes its part of a global batch's gradient: all rows at once, or in micro-batches.

The gradient is the same. A contrastive loss needs all embeddings of the global batch, so its micro-batches go through
``cached_backward``: the cut is at the encoder's embeddings, and the head, whose batch normalisation is over the global
batch, sees all of them. A supervised loss is a mean over rows, which adds up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.errors import UserError
from sdl_study.losses import LabelSets, NonFiniteEmbeddingsError, cached_backward
from sdl_study.losses.supervised import SupervisedLoss
from sdl_study.models.norm import GlobalBatchNorm
from sdl_study.training.model import PretrainingModel
from sdl_study.workers.job import SettingFailure

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

Autocast = Callable[[], AbstractContextManager[Any]]
Chunks = Sequence[dict[str, "Tensor"]]


class NonFiniteLoss(SettingFailure):
    """The global loss is NaN or infinite; raised by every rank at the same step, before the update."""


@dataclass(frozen=True)
class Pass:
    """What a batch gave, beside the gradients.

    Attributes:
        loss: of the global batch; the same on every rank.
        outputs: of this rank's rows, what the loss was given.
        embeddings: of this rank's rows, the encoder's.
    """

    loss: float
    outputs: Float[Tensor, "n outputs"]
    embeddings: Float[Tensor, "n width"]


class WholeBatch:
    """All rows of a rank pass the model at once."""

    def __init__(self, model: PretrainingModel, loss: Any, parallel: str, autocast: Autocast) -> None:
        self._loss, self._autocast = loss, autocast
        self._parallel = shared(model, parallel)

    def backward(self, chunks: Chunks, labels: LabelSets) -> Pass:
        """Add the gradient of one global batch, of which this rank holds the only one of ``chunks``.

        Raises:
            NonFiniteLoss: on every rank.
        """
        (batch,) = chunks
        with self._autocast():
            outputs, embeddings = self._parallel(batch)
        loss = finite_loss(self._loss, outputs, labels)
        loss.backward()
        return Pass(float(loss.detach()), outputs.detach(), embeddings.detach())


class AddedBatch:
    """Micro-batches of a supervised loss: the gradients of their shares of the global mean are added up."""

    def __init__(self, model: PretrainingModel, loss: Any, parallel: str, autocast: Autocast) -> None:
        self._loss, self._autocast = loss, autocast
        self._parallel = shared(model, parallel)

    def backward(self, chunks: Chunks, labels: LabelSets) -> Pass:
        """As ``WholeBatch.backward``, for any number of chunks, in the order of the labels.

        Every rank makes as many passes as the one with most chunks, with no rows where it has none left.
        """
        own = [len(next(iter(chunk.values()))) for chunk in chunks]
        passes = max(distributed.row_counts(len(chunks)))
        own += [0] * (passes - len(chunks))
        rows = distributed.all_gather_same(torch.tensor(own)).sum(0).tolist()
        none = {name: values[:0] for name, values in chunks[0].items()}
        value, start, found = 0.0, 0, []
        for number in range(passes):
            stop = start + own[number]
            with distributed.synchronised(self._parallel, number == passes - 1):
                with self._autocast():
                    outputs, embeddings = self._parallel(chunks[number] if number < len(chunks) else none)
                mean = finite_loss(self._loss, outputs, labels[start:stop])
                loss = mean * (rows[number] / max(1, sum(rows)))
                loss.backward()
            value += float(loss.detach())
            found.append((outputs.detach(), embeddings.detach()))
            start = stop
        outputs, embeddings = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Pass(value, outputs, embeddings)


class CachedBatch:
    """Micro-batches of a contrastive loss; the head and the loss see the embeddings of all of them."""

    def __init__(self, model: PretrainingModel, loss: Any, parallel: str, autocast: Autocast) -> None:
        self._loss = _LossOfEmbeddings(model, loss, autocast)
        self._encode = shared(_Encode(model.encoder, autocast), parallel)

    def backward(self, chunks: Chunks, labels: LabelSets) -> Pass:
        """As ``WholeBatch.backward``, for any number of chunks, in the order of the labels."""
        value = cached_backward(self._encode, chunks, labels, self._loss)
        return Pass(float(value), self._loss.outputs, self._loss.embeddings)


class _Encode(nn.Module):
    """The encoder called with one chunk; a module, so that gradients of all ranks are averaged."""

    def __init__(self, encoder: nn.Module, autocast: Autocast) -> None:
        super().__init__()
        self.encoder, self._autocast = encoder, autocast

    def forward(self, chunk: dict[str, Tensor]) -> Float[Tensor, "_ width"]:
        """Embeddings of the chunk's rows."""
        with self._autocast():
            return self.encoder(**chunk)


class _LossOfEmbeddings(nn.Module):
    """Head and loss as one loss of the encoder's embeddings, as ``cached_backward`` wants it.

    The head's parameters are the loss's own there: their gradients are averaged over the ranks.
    """

    distributed: Literal["auto"] = "auto"
    process_group = None
    gradient_reduction = "mean"
    outputs: Tensor
    embeddings: Tensor

    def __init__(self, model: PretrainingModel, loss: Any, autocast: Autocast) -> None:
        super().__init__()
        self.head = model.head
        self._outputs_of, self._loss, self._autocast = model.outputs, loss, autocast

    def forward(self, embeddings: Float[Tensor, "n width"], labels: LabelSets) -> Float[Tensor, ""]:
        """The loss of the global batch."""
        with self._autocast():
            outputs = self._outputs_of(embeddings)
        self.outputs, self.embeddings = outputs.detach(), embeddings.detach()
        return finite_loss(self._loss, outputs, labels)


def batch_of(
    model: PretrainingModel, loss: Any, train: TrainSettings, micro_batch: int | None
) -> WholeBatch | AddedBatch | CachedBatch:
    """How the gradient of a model and its loss is computed.

    Args:
        model: on its device; shared with the other ranks as ``train.parallel`` says.
        loss: called with a rank's outputs and label sets.
        train: the settings of training.
        micro_batch: rows of this rank that pass the encoder at once; None is all of them.

    Raises:
        UserError: micro-batches of an encoder that normalises over the batch.
    """
    device = next(model.parameters()).device.type
    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=train.precision == "bf16")
    if micro_batch is None:
        return WholeBatch(model, loss, train.parallel, autocast)
    check_separable(model.encoder)
    if isinstance(loss, SupervisedLoss):
        return AddedBatch(model, loss, train.parallel, autocast)
    return CachedBatch(model, loss, train.parallel, autocast)


def finite_loss(loss: Any, outputs: Float[Tensor, "n d"], labels: LabelSets) -> Float[Tensor, ""]:
    """The loss; where it is not finite, or refuses outputs that are not finite on any rank, the setting diverged."""
    try:
        value = loss(outputs, labels)
    except NonFiniteEmbeddingsError:  # which a loss raises on every rank alike
        raise NonFiniteLoss from None
    if not math.isfinite(float(value.detach())):
        raise NonFiniteLoss
    return value


def is_separable(encoder: nn.Module) -> bool:
    """Whether an encoder gives a row the same embedding in any micro-batch: it learns no statistics of a batch."""
    return not any(isinstance(module, GlobalBatchNorm) and not module.frozen for module in encoder.modules())


def check_separable(encoder: nn.Module) -> None:
    """Refuse micro-batches for an encoder that normalises over the batch.

    Raises:
        UserError: one line.
    """
    if not is_separable(encoder):
        raise UserError(
            "train.micro_batch: this encoder normalises over the whole batch, which micro-batches do not see; give "
            "None, or an encoder with another norm"
        )


def shared(module: nn.Module, parallel: str) -> nn.Module:
    """The module as all ranks train it; itself where there is one process, or nothing of it is trained."""
    if distributed.world_size() == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    return distributed.fully_sharded(module) if parallel == "fsdp" else distributed.data_parallel(module)
