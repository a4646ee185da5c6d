"""A trial as the journal has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sdl_study.budget import Spent
from sdl_study.space import ParameterValue

State = Literal["running", "complete", "pruned", "failed"]
FailureKind = Literal["setting", "machine", "bug"]

STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LENGTH = "train.epochs"  # the parameter by which a search chooses how long to train
NUMBER, SAMPLED_BY, EPOCH = "sdl.trial", "sdl.sampled_by", "sdl.epoch/"
REASON, FAILURE, ATTEMPTS, GPUS = "sdl.reason", "sdl.failure", "sdl.attempts", "sdl.gpus"


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: number in the study, in order of asking.
        arm: the arm it belongs to.
        arm_number: number in its search of the arm; 0 is the published setting.
        parameters: the active parameters.
        epochs: metrics of every finished epoch, from epoch 1 on.
        values: best objective up to each epoch: what ASHA compares.
        reason: of a failure: exception type and the project's own file and line, or "machine".
        attempts: how often a machine's failure made it start again, plus one.
        failure: of a failed trial, whose failure it was.
        search: which of the arm's independent searches it belongs to.
        gpus: that it claims while it trains; part of one where several trials share it, 0 on CPUs.
    """

    number: int
    arm: str
    arm_number: int
    state: State
    parameters: dict[str, ParameterValue]
    sampled_by: str
    epochs: dict[int, dict[str, float]]
    values: dict[int, float]
    reason: str | None
    attempts: int
    failure: FailureKind | None = None
    search: int = 0
    gpus: float = 0.0

    @property
    def is_published(self) -> bool:
        """Whether its setting is the published one of its arm."""
        return self.arm_number == 0

    @property
    def objective(self) -> float | None:
        """Best value over the epochs so far; None before the first."""
        return self.values[max(self.values)] if self.values else None

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best value, the earlier one on a tie; None before the first."""
        return next((epoch for epoch, value in self.values.items() if value == self.objective), None)

    def length(self, whole: int) -> int:
        """Epochs of its whole training: its own where the search chose them, else the study's."""
        chosen = self.parameters.get(LENGTH)
        return whole if chosen is None else int(chosen)

    @property
    def seconds(self) -> float:
        """Seconds of training and probing, over all epochs."""
        return sum(metrics.get("seconds", 0.0) for metrics in self.epochs.values())


def spent_on(
    trials: Sequence[TrialRecord], searches: Iterable[tuple[str, int]], seconds: float = 0.0
) -> Spent:
    """What the searches of a study have had.

    Args:
        trials: of the study; those that the machine ended are asked anew and do not count.
        searches: all of them, as arm and number.
        seconds: in which they ran.
    """
    counts = dict.fromkeys(searches, 0)
    for trial in trials:
        if (trial.arm, trial.search) in counts:
            counts[trial.arm, trial.search] += trial.failure != "machine"
    gpu_seconds = sum(trial.gpus * trial.seconds for trial in trials)
    return Spent(min(counts.values(), default=0), seconds, gpu_seconds)


def is_asked(trial: FrozenTrial) -> bool:
    """Whether a trial of Optuna's was asked to its end: a driver that dies while asking leaves one without number."""
    return NUMBER in trial.user_attrs


def record_of(arm: str, search: int, trial: FrozenTrial) -> TrialRecord:
    """The record of a trial of Optuna's, which belongs to a search of an arm."""
    attributes: dict[str, Any] = trial.user_attrs
    epochs = {
        epoch: attributes[f"{EPOCH}{epoch}"]
        for epoch in sorted(trial.intermediate_values)
        if not math.isnan(trial.intermediate_values[epoch])
    }
    return TrialRecord(
        number=attributes[NUMBER],
        arm=arm,
        arm_number=trial.number,
        state=STATES[trial.state],
        parameters=dict(trial.params),
        sampled_by=attributes[SAMPLED_BY],
        epochs=epochs,
        values={epoch: trial.intermediate_values[epoch] for epoch in epochs},
        reason=attributes.get(REASON),
        attempts=attributes.get(ATTEMPTS, 1),
        failure=attributes.get(FAILURE),
        search=search,
        gpus=attributes.get(GPUS, 0.0),
    )


def candidates(records: Sequence[TrialRecord], arm: str, top: int, search: int = 0) -> list[TrialRecord]:
    """The best trials on dev of a search of an arm.

    Complete ones first, then those that ASHA stopped; the earlier on a tie.
    """
    scored = [
        r
        for r in records
        if (r.arm, r.search) == (arm, search)
        and r.objective is not None
        and r.state in ("complete", "pruned")
    ]
    return sorted(scored, key=lambda r: (r.state != "complete", -float(r.objective or 0), r.number))[:top]


def leaderboard(
    trials: list[TrialRecord], remarks: Callable[[TrialRecord], Mapping[str, Any]] = lambda _: {}
) -> list[dict[str, Any]]:
    """Every trial, best first within its arm: the rows of leaderboard.csv.

    Args:
        trials: all of them.
        remarks: what more is to be said of a trial, by column.
    """
    several = any(trial.search for trial in trials)
    names = sorted({name for trial in trials for name in trial.parameters})
    ordered = sorted(trials, key=lambda t: (t.arm, -(t.objective if t.objective is not None else -1.0)))
    return [
        {
            "trial": trial.number,
            "arm": trial.arm,
            **({"search": trial.search} if several else {}),
            "state": trial.state,
            "objective": trial.objective,
            "best_epoch": trial.best_epoch,
            "epochs": len(trial.epochs),
            "seconds": round(trial.seconds, 3),
            "sampled_by": trial.sampled_by,
            "reason": trial.reason,
            **remarks(trial),
            **{name: trial.parameters.get(name) for name in names},
        }
        for trial in ordered
    ]
