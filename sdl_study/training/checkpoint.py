"""Checkpoints of a job: model, optimizer, schedule, random state of every rank, and what was measured so far.

Two files in the job's folder, whatever group or attempt runs it: ``last.pt`` to go on from, ``best.pt`` for what
comes after training. Written whole; read with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from sdl_study.errors import UserError
from sdl_study.files import written_whole

FORMAT_VERSION = 1
LAST, BEST = "last.pt", "best.pt"


@dataclass
class Progress:
    """How far a job is, with the last epoch's metrics.

    The sampler's position is the epoch: its order is a function of seed and epoch alone.
    """

    epoch: int = 0
    examples_seen: int = 0
    seconds: float = 0.0
    best_value: float = float("-inf")
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class State:
    """What a checkpoint holds, beside the format's version."""

    progress: Progress
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    loss: dict[str, Any] = field(default_factory=dict)
    rng: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, state: State, is_best: bool) -> None:
    """Write ``last.pt`` and, when this is the best epoch so far, ``best.pt``.

    The best goes first: a ``last.pt`` never speaks of a best epoch whose weights are not there.
    """
    content = {"format_version": FORMAT_VERSION, **vars(state), "progress": asdict(state.progress)}
    if not is_best:
        with written_whole(folder / LAST) as file:
            torch.save(content, file)
        return
    with written_whole(folder / BEST) as file:
        torch.save(content, file)
    with (folder / BEST).open("rb") as best, written_whole(folder / LAST) as file:
        shutil.copyfileobj(best, file)


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
