"""What a training needs of a GPU's memory, and on how few GPUs a global batch fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from sdl_study.study.forecast.trace import Traced

_FLOAT = 4  # bytes: weights, gradients and both moments of AdamW are float32, also under bf16
MOST_WORKERS = 8  # of one machine: never across machines unless asked


@dataclass(frozen=True)
class State:
    """Bytes that stay between steps.

    Attributes:
        weights: parameters and buffers.
        gradients: of the parameters that are trained.
        optimizer: two moments of each of them.
    """

    weights: float
    gradients: float
    optimizer: float

    @classmethod
    def of(cls, model: nn.Module) -> State:
        """That of a model under AdamW."""
        held = [*model.parameters(), *model.buffers()]
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        weights = sum(tensor.numel() * tensor.element_size() for tensor in held)
        return cls(weights, _FLOAT * trained, 2 * _FLOAT * trained)

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer

    @property
    def checkpoint(self) -> float:
        """Bytes of a checkpoint to go on from: trained weights, as large as their gradients, and the optimizer's."""
        return self.gradients + self.optimizer


@dataclass(frozen=True)
class Fit:
    """How a global batch is spread.

    Attributes:
        workers: GPUs of a trial.
        micro_batch: rows of a worker that pass the encoder at once.
        share: rows of a worker in a step.
        sharded: whether weights, gradients and optimizer are cut among the workers (``train.parallel=fsdp``).
        state, activations: bytes on each GPU.
    """

    workers: int
    micro_batch: int
    share: int
    sharded: bool
    state: float
    activations: float

    @property
    def total(self) -> float:
        """Bytes on each GPU."""
        return self.state + self.activations

    @property
    def in_parts(self) -> bool:
        """Whether a step takes several passes."""
        return self.micro_batch < self.share


def fewest_workers(
    state: State, traced: Traced, batch: int, capacity: float, given: int | None = None
) -> Fit | None:
    """The fewest GPUs of one machine on which a global batch fits, in micro-batches where need be.

    One GPU is enough as soon as it takes a single row; else the state is cut among several.

    Args:
        state: of the model.
        traced: what its rows cost.
        batch: rows of the global batch.
        capacity: bytes of a GPU that may be filled.
        given: workers that the user asked for.

    Returns:
        None where it does not fit at all.
    """
    for workers in (given,) if given else range(1, MOST_WORKERS + 1):
        share = math.ceil(batch / workers)
        copies = 0.0 if workers == 1 else state.gradients  # what data-parallel training sends from
        for sharded in (False, True) if workers > 1 else (False,):
            kept = state.total / workers if sharded else state.total + copies
            rows = _rows_that_fit(traced, share, capacity - kept)
            if rows:
                return Fit(workers, rows, share, sharded, kept, traced.alive(rows))
    return None


def _rows_that_fit(traced: Traced, share: int, room: float) -> int:
    """All rows of a share, or the largest power of two that there is room for; 0: not even one."""
    if traced.alive(share) <= room:
        return share
    rows = 2 ** int(math.log2(share))
    while rows and traced.alive(rows) > room:
        rows //= 2
    return rows
