"""One contrastive step over a global batch whose activations do not fit in memory.

The loss needs all embeddings at once, the encoder does not: the embeddings are computed first without a graph,
the loss gives dL/dz of the whole batch, and the encoder runs again, chunk by chunk, to carry it into its
parameters. The idea is GradCache's (Gao et al. 2021, arXiv 2101.06983); the loss and its scale are this library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.label_sets import LabelSets


class LossOfEmbeddings(Protocol):
    """What is needed of a loss: a ``ContrastiveLoss``, or a module that has a head before one."""

    process_group: Any
    distributed: Any
    gradient_reduction: Any

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Its own, a head's among them."""
        ...

    def __call__(self, embeddings: Tensor, labels: Any) -> Tensor:
        """The loss of the global batch."""
        ...


@dataclass(frozen=True)
class _RandomState:
    """The state of the CPU's and the current CUDA device's random generator."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def take(cls) -> _RandomState:
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if used else None)

    def put(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)


def cached_backward(
    encode: Callable[[Any], Tensor],
    chunks: Sequence[Any],
    labels: Tensor | LabelSets,
    loss: LossOfEmbeddings,
) -> Tensor:
    """Accumulate the gradient of ``loss`` over all chunks of all ranks into the encoder's parameters.

    Replaces ``loss(encode(everything), labels).backward()`` with the same result, dropout included (its random
    state is replayed), at the memory of one chunk's activations. Modules that change state in a forward pass
    (BatchNorm's running statistics) see every chunk twice, and normalise over a chunk instead of the batch.

    Args:
        encode: maps a chunk to its embeddings [n, D] or [n, V, D]: a module, also one under DDP or FSDP2 (its
            gradients are synchronised once, with the last chunk), or a function.
        chunks: this rank's inputs in the order of ``labels``; at least one, and not as many on every rank.
        labels: the label sets of all rows of this rank.
        loss: the loss. Gradients of its own parameters (a learnable temperature) are reduced over ranks here,
            so it need not be part of the wrapped module.

    Returns:
        The global loss, detached.

    Raises:
        ValueError: a rank without chunks, or input the loss refuses; on every rank.
    """
    passes = _number_of_passes(encode, len(chunks), loss)
    states: list[_RandomState] = []
    after = _RandomState.take()
    embeddings: list[Tensor] = []
    with torch.no_grad():
        for number in range(passes):
            states.append(_RandomState.take())
            chunk = chunks[min(number, len(chunks) - 1)]
            embedded = encode(chunk)
            if number < len(chunks):
                embeddings.append(embedded)
                after = _RandomState.take()
            else:
                after.put()  # an extra pass only keeps collectives in step; it leaves no trace
    value, gradients = _gradients_of_embeddings(embeddings, labels, loss)
    for number in reversed(range(passes)):  # the extra passes first, so that the last one is real
        own = number < len(chunks)
        gradient = gradients[number] if own else torch.zeros_like(gradients[-1])
        with distributed.synchronised(encode, number == 0):
            states[number].put()
            embedded = encode(chunks[number if own else -1])
            if embedded.requires_grad:  # else nothing of the encoder is trained
                torch.autograd.backward(embedded, gradient)
    after.put()
    return value


def _number_of_passes(encode: Callable[[Any], Tensor], own: int, loss: LossOfEmbeddings) -> int:
    """Chunks of this rank, or of the rank with most where every forward pass is a collective (FSDP2)."""
    counts = [own]
    if loss.distributed == "auto":
        counts = distributed.row_counts(own, loss.process_group)
    if min(counts) == 0:
        raise ValueError(f"chunks: rank {counts.index(0)} has none; give it one, which may hold no rows")
    return max(counts) if hasattr(encode, "set_requires_gradient_sync") else own


def _gradients_of_embeddings(
    embeddings: list[Tensor], labels: Tensor | LabelSets, loss: LossOfEmbeddings
) -> tuple[Tensor, list[Tensor]]:
    """The loss of the global batch and dL/dz of this rank's chunks; the loss's own parameters get theirs."""
    rows = torch.cat(embeddings).requires_grad_()
    parameters = [p for p in loss.parameters() if p.requires_grad]
    with torch.enable_grad():
        value = loss(rows, labels)
        gradient, *own = torch.autograd.grad(value, [rows, *parameters])
    for parameter, partial in zip(parameters, own, strict=True):
        if loss.distributed == "auto":
            partial = distributed.all_reduce_sum(partial, loss.process_group)
            if loss.gradient_reduction == "mean":
                partial /= distributed.world_size(loss.process_group)
        parameter.grad = partial if parameter.grad is None else parameter.grad + partial
    return value.detach(), list(gradient.split([len(chunk) for chunk in embeddings]))
