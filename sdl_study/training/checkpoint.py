"""Checkpoints of a job: model, optimizer, schedule, random state of every rank, and what was measured so far.

Two files in the job's folder, whatever group or attempt runs it: ``last.pt`` to go on from, ``best.pt``, weights
alone, where something comes after training that needs them. Written whole; read with ``weights_only=True``. After
the last epoch ``last.pt`` is without weights: it says what was measured, and nothing is trained again.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdl_study import distributed
from sdl_study.errors import UserError
from sdl_study.files import written_whole
from sdl_study.record.files import BEST, LAST

__all__ = ["BEST", "LAST", "Pace", "Progress", "State"]

FORMAT_VERSION = 1


@dataclass
class Progress:
    """How far a job is, with the last epoch's metrics.

    The sampler's position is the epoch, and within the next one the step: its order is a function of seed and epoch
    alone.

    Attributes:
        epoch: the last one that is over.
        examples_seen, seconds, metrics: up to its end.
        best_value, best_epoch: up to its end.
        values: the objective of every epoch up to it.
        step: updates already made in the epoch after it.
        elapsed: seconds already spent in that one.
    """

    epoch: int = 0
    examples_seen: int = 0
    seconds: float = 0.0
    best_value: float = float("-inf")
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)
    step: int = 0
    elapsed: float = 0.0


@dataclass
class State:
    """What a checkpoint holds, beside the format's version.

    ``rng`` and ``watched`` have one entry per rank: its random state, and what it saw of the epoch that has begun.
    """

    progress: Progress
    model: dict[str, Any]
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    rng: list[dict[str, Any]] = field(default_factory=list)
    watched: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, state: State, is_best: bool = False, is_over: bool = False) -> None:
    """Write ``last.pt`` and, when this is the best epoch so far and its weights are needed, ``best.pt``.

    The best goes first: a ``last.pt`` never speaks of a best epoch whose weights are not there.

    Args:
        folder: of the job.
        state: to go on from; after the last epoch its progress alone is kept.
        is_best: whether to write ``best.pt``.
        is_over: whether the training is.
    """
    if is_best:
        _write(folder / BEST, State(state.progress, state.model))
    _write(folder / LAST, State(state.progress, {}) if is_over else state)


def _write(path: Path, state: State) -> None:
    content = {"format_version": FORMAT_VERSION, **vars(state), "progress": asdict(state.progress)}
    with written_whole(path) as file:
        torch.save(content, file)


def load(folder: Path, name: str, device: torch.device) -> State | None:
    """Read a checkpoint; None where there is none.

    Raises:
        UserError: the file is damaged or of another format.
    """
    path = folder / name
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        version = content.pop("format_version")
        progress = Progress(**content.pop("progress"))
    except (RuntimeError, EOFError, KeyError, TypeError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); remove it to start this job again"
        ) from None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format {version}, this version reads {FORMAT_VERSION}")
    return State(progress=progress, **content)


def trained_weights(model: nn.Module) -> dict[str, Any]:
    """All of a model's state but its frozen parameters, which are built again as they were.

    Of an encoder of a billion frozen weights and a few trained ones this is a thousandth.
    """
    frozen = _frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def put_back(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Give a model of the same kind what ``trained_weights`` gave, or a whole state.

    Raises:
        RuntimeError: weights of another model.
    """
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or not _frozen_names(model).issuperset(missing):
        model.load_state_dict(weights)  # says which


def _frozen_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def random_state(device: torch.device) -> dict[str, Any]:
    """This rank's random state."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put a rank's random state back."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


class Pace:
    """When a checkpoint is due within an epoch: every so many seconds by rank 0's clock, at the same step of all ranks.

    Asking rank 0 is a collective: the ranks agree each time after how many steps they ask again, so that a long
    training asks seldom.

    Args:
        seconds: between two checkpoints; 0 is never.
        channel: the group of all ranks that carries small objects.
    """

    def __init__(self, seconds: float, channel: Any) -> None:
        self._seconds, self._channel = seconds, channel
        self.restart()

    def restart(self) -> None:
        """A checkpoint was written."""
        self._since, self._steps, self._ask_at = time.monotonic(), 0, 1

    def due(self) -> bool:
        """Whether to write one now; every rank asks after every step."""
        self._steps += 1
        if not self._seconds or self._steps < self._ask_at:
            return False
        spent = time.monotonic() - self._since
        left = math.floor((self._seconds - spent) / max(spent / self._steps, 1e-9))
        is_due, wait = distributed.broadcast_object(
            (spent >= self._seconds, max(1, min(left, self._steps))), self._channel
        )
        self._ask_at = self._steps + wait
        return is_due
