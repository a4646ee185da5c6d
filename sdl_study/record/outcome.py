"""result.json: the typed outcome of a job outside the search (a repeat, a final, a control)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.evaluation.predictions import PREDICTIONS_FILE
from sdl_study.evaluation.scores import has_scores
from sdl_study.files import read_json, write_json

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Repeat:
    """A repeat of a trial ended.

    Attributes:
        objective: the best over its epochs.
        epochs: the objective of every epoch; empty where an earlier version ran it.
    """

    objective: float
    epochs: Sequence[float] = ()


@dataclass(frozen=True)
class Result:
    """A final or control ended: its scores of the test inputs lie beside this file.

    Attributes:
        metrics: of dev, dev's threshold and what the last stage chose.
        examples_seen: training examples that passed, repeats counted.
        best_epoch: whose encoder was used; 0 where none was trained.
        seconds: of training and probing.
        workers: how many processes shared it.
        device: "cpu" or "cuda".
    """

    metrics: Mapping[str, float]
    examples_seen: int
    best_epoch: int
    seconds: float
    workers: int
    device: str


@dataclass(frozen=True)
class Failure:
    """The job failed by its own setting (a loss that is not finite, memory); the same seed would fail again."""

    where: str


Outcome = Repeat | Result | Failure
_KINDS: dict[str, type[Outcome]] = {"repeat": Repeat, "result": Result, "failure": Failure}


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write what became of the job in a folder; what it is about must be on the disk before."""
    name = next(name for name, kind in _KINDS.items() if isinstance(outcome, kind))
    write_json(folder / RESULT_FILE, {"kind": name, **asdict(outcome)})


def read_outcome(folder: Path) -> Outcome | None:
    """What became of the job in a folder; None while it has none that stays.

    A result whose scores a power cut took is none: the job runs again. Once it was scored, they stand in its
    predictions.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    values = read_json(path)
    try:
        outcome = _KINDS[values.pop("kind")](**values)
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: damaged: no outcome of a job; remove its folder to run the job again"
        ) from None
    whole = not isinstance(outcome, Result) or has_scores(folder) or (folder / PREDICTIONS_FILE).exists()
    return outcome if whole else None
