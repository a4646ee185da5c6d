"""What is watched while an epoch trains: averages over its steps, collapse, and the rows of every step."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.training.step import Update

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_EXAMPLES = 512


class Watch(Protocol):
    """Looks at the vectors of an epoch for a collapse."""

    def add(self, vectors: Float[Tensor, "n width"]) -> None:
        """Take this rank's vectors of a step; there may be none."""
        ...

    def metrics(self) -> dict[str, float]:
        """What was seen, over all ranks, which all call this at once."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint within the epoch keeps of this rank."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""
        ...


class EpochMonitor:
    """Takes the updates of an epoch in turn; ``metrics`` at its end, on every rank at once.

    Args:
        watch: looks for a collapse.
        chance: the loss of a contrastive arm whose vectors tell nothing, log(B - 1) for B rows a step; None where
            there is no such number to compare with.
    """

    def __init__(self, watch: Watch, chance: float | None = None) -> None:
        self._losses: list[float] = []
        self._valid: list[float] = []
        self._watch, self._chance = watch, chance

    def add(self, update: Update) -> None:
        """Take one update."""
        self._losses.append(update.loss)
        self._valid.append(update.valid_anchor_fraction)
        self._watch.add(update.vectors)

    def metrics(self) -> dict[str, float]:
        """Mean loss and share of valid anchors over the steps, the loss as a share of chance's, and the collapse."""
        loss = float(np.mean(self._losses))
        return {
            "train/loss": loss,
            "train/valid_anchor_fraction": float(np.mean(self._valid)),
            **({} if self._chance is None else {"train/loss_to_chance": loss / self._chance}),
            **self._watch.metrics(),
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint within the epoch keeps of this rank."""
        return {"losses": self._losses, "valid": self._valid, "watch": self._watch.state()}

    def load(self, losses: list[float], valid: list[float], watch: dict[str, Any]) -> None:
        """Put back what ``state`` gave; an empty ``watch`` is that of a rank that had none."""
        self._losses, self._valid = list(losses), list(valid)
        if watch:
            self._watch.load(watch)


class Alike:
    """How alike the encoder's embeddings are at the end of an epoch: their mean cosine, and in how many dimensions they
    differ.

    Looked at before the head, whose batch normalisation takes away what all have in common. The last steps of an epoch
    count, as many as hold some hundred examples. An encoder that gives every example nearly the same has a mean cosine
    of 1; one that tells them apart along one line has an effective rank of 1.

    The effective rank is 1 / the sum of the squared shares of the eigenvalues of the unit vectors' covariance: the
    number of dimensions, if all are used alike. Source: Roy & Vetterli 2007, The effective rank, EUSIPCO (with Renyi's
    entropy of order 2 for Shannon's).

    Args:
        rows: of a step, over all ranks.
    """

    def __init__(self, rows: int) -> None:
        self._last: deque[Float[Tensor, "n width"]] = deque(maxlen=1 + math.ceil(_EXAMPLES / rows))

    def add(self, vectors: Float[Tensor, "n width"]) -> None:
        """Take this rank's embeddings of a step."""
        self._last.append(vectors)

    def metrics(self) -> dict[str, float]:
        """Mean cosine of two examples' embeddings, and the effective rank; both 0 where there was none."""
        if not self._last:
            return {"train/collapse": 0.0, "train/effective_rank": 0.0}
        own = torch.cat(list(self._last)).double()
        unit = distributed.all_gather_rows(functional.normalize(own, dim=1))
        count = max(unit.shape[0], 1)
        cosine = (unit.sum(0).square().sum() - unit.square().sum()) / max(count * (count - 1), 1)
        apart = unit - unit.sum(0) / count
        products = apart.T @ apart if apart.shape[1] < count else apart @ apart.T
        rank = products.trace().square() / products.square().sum().clamp(min=1e-30)
        return {"train/collapse": float(cosine), "train/effective_rank": float(rank)}

    def state(self) -> dict[str, Any]:
        """The embeddings of the last steps."""
        return {"last": [vectors.cpu() for vectors in self._last]}

    def load(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""
        self._last.clear()
        self._last.extend(state["last"])


class Spread:
    """|mean v|² / mean |v|² over the vectors of an epoch and all ranks: 1 where they are all the same."""

    def __init__(self) -> None:
        self._sum: Float[Tensor, " width"] | None = None
        self._squares, self._count = 0.0, 0

    def add(self, vectors: Float[Tensor, "n width"]) -> None:
        """Take this rank's vectors of a step; there may be none."""
        rows = vectors.double()
        self._sum = rows.sum(0) if self._sum is None else self._sum + rows.sum(0)
        self._squares += float(rows.square().sum())
        self._count += rows.shape[0]

    def metrics(self) -> dict[str, float]:
        """The ratio over all ranks; 0 before the first step."""
        return {"train/collapse": self.collapse()}

    def collapse(self) -> float:
        """The ratio over all ranks, which all call this at once; 0 before the first step."""
        if self._sum is None:
            return 0.0
        totals = torch.tensor(
            [self._squares, float(self._count)], dtype=torch.float64, device=self._sum.device
        )
        squares, count = distributed.all_reduce_sum(totals).tolist()
        mean = distributed.all_reduce_sum(self._sum) / max(count, 1.0)
        return float(mean.square().sum()) / max(squares / max(count, 1.0), 1e-30)

    def state(self) -> dict[str, Any]:
        """The sums."""
        return {"sum": self._sum, "squares": self._squares, "count": self._count}

    def load(self, state: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""
        self._sum, self._squares, self._count = state["sum"], state["squares"], state["count"]


def monitor_of(train: TrainSettings, rows: int, contrastive: bool) -> EpochMonitor:
    """The monitor of an epoch.

    Args:
        train: says on which vectors a collapse is looked for.
        rows: of a whole step.
        contrastive: whether the arm's loss compares the rows of a step.
    """
    if train.collapse_of == "outputs":
        return EpochMonitor(Spread())
    return EpochMonitor(Alike(rows), math.log(rows - 1) if contrastive and rows > 2 else None)


class BatchLog:
    """Row numbers of every step of this rank, for those who want to see that sharding is what it should be.

    A context manager that appends to ``batches-RANK.jsonl``.

    Args:
        folder: of the job; None where nobody wants to see them.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def __enter__(self) -> BatchLog:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"batches-{distributed.rank()}.jsonl"
            self._file = path.open("a", encoding="utf-8")
        return self

    def add(self, epoch: int, step: int, rows: Int[np.ndarray, " n"]) -> None:
        """Note one step."""
        if self._file is not None:
            line = {"pid": os.getpid(), "epoch": epoch, "step": step, "rows": rows.tolist()}
            self._file.write(json.dumps(line) + "\n")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
