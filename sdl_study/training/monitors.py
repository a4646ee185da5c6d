"""What is watched while an epoch trains: averages over its steps, collapse, and the rows of every step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.training.step import Update

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class EpochMonitor:
    """Takes the updates of an epoch in turn; ``metrics`` at its end, on every rank at once."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._valid: list[float] = []
        self._spread = Spread()

    def add(self, update: Update) -> None:
        """Take one update."""
        self._losses.append(update.loss)
        self._valid.append(update.valid_anchor_fraction)
        self._spread.add(update.vectors)

    def metrics(self) -> dict[str, float]:
        """Mean loss and share of valid anchors over the steps, and the collapse over all vectors."""
        return {
            "train/loss": float(np.mean(self._losses)),
            "train/valid_anchor_fraction": float(np.mean(self._valid)),
            "train/collapse": self._spread.collapse(),
        }


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
