"""Records: the study's trials in the Optuna journal, which is the only truth about them.

One Optuna study per arm, named ``STUDY/ARM``. What Optuna has no field for stands in user attributes under
``sdl.``: the trial's number in the study, how it was sampled, each epoch's metrics, attempts, the reason of a
failure. Everything else (MLflow, leaderboard, rungs) is derived from here.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sdl_study.errors import UserError
from sdl_study.space import ParameterValue

if TYPE_CHECKING:
    from sdl_study.workers.events import FailureKind

State = Literal["running", "complete", "pruned", "failed"]
MACHINE = "machine"

_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_EPOCH = "sdl.epoch/"
_TAIL = 1 << 16


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the journal has it.

    Attributes:
        number: number in the study, in order of asking.
        arm: the arm it belongs to.
        arm_number: number in the arm; 0 is the published setting.
        parameters: the active parameters.
        epochs: metrics of every finished epoch, from epoch 1 on.
        values: best objective up to each epoch: what ASHA compares.
        reason: of a failure: exception type and the project's own file and line, or "machine".
        attempts: how often a machine's failure made it start again, plus one.
        failure: of a failed trial, whose failure it was.
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

    @property
    def objective(self) -> float | None:
        """Best value over the epochs so far; None before the first."""
        return self.values[max(self.values)] if self.values else None

    def best_epoch(self, objective: str) -> int | None:
        """Epoch of the best value, the earlier one on a tie."""
        if not self.epochs:
            return None
        return min(self.epochs, key=lambda epoch: (-self.epochs[epoch][objective], epoch))

    @property
    def seconds(self) -> float:
        """Seconds of training and probing, over all epochs."""
        return sum(metrics.get("seconds", 0.0) for metrics in self.epochs.values())


class Records:
    """The journal of a study, opened by one driver.

    Args:
        path: the journal file; it is made if it is not there.
        study: name of the study.
        arms: names of its arms, in order.
        objective: key of the dev metric that is maximised.

    Raises:
        UserError: the journal is damaged elsewhere than at its end.
    """

    def __init__(self, path: Path, study: str, arms: tuple[str, ...], objective: str) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        _cut_torn_line(path)
        self._name = study
        self._objective = objective
        try:
            self._storage = JournalStorage(JournalFileBackend(str(path)))
            self._studies = {arm: self._open(arm) for arm in arms}
        except json.JSONDecodeError:
            raise UserError(
                f"{path}: damaged in the middle; put it back from a copy, or start again under --name"
            ) from None

    def _open(self, arm: str) -> optuna.Study:
        return optuna.create_study(
            study_name=f"{self._name}/{arm}",
            storage=self._storage,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms in the study's order."""
        return tuple(self._studies)

    def optuna_study(self, arm: str) -> optuna.Study:
        """The Optuna study of an arm."""
        return self._studies[arm]

    def all(self) -> list[TrialRecord]:
        """Every asked trial, by number."""
        records = [
            _record(arm, trial)
            for arm, study in self._studies.items()
            for trial in study.get_trials(deepcopy=False)
            if "sdl.trial" in trial.user_attrs
        ]
        return sorted(records, key=lambda record: record.number)

    def of_arm(self, arm: str) -> list[TrialRecord]:
        """The trials of an arm, in order of asking."""
        return [record for record in self.all() if record.arm == arm]

    def get(self, number: int) -> TrialRecord:
        """The trial with a number."""
        arm, trial = self._find(number)
        return _record(arm, trial)

    def _find(self, number: int) -> tuple[str, FrozenTrial]:
        for arm, study in self._studies.items():
            for trial in study.get_trials(deepcopy=False):
                if trial.user_attrs.get("sdl.trial") == number:
                    return arm, trial
        raise KeyError(f"trial {number} is not in the journal of {self._name}")

    def ask(
        self,
        arm: str,
        sampler_of: Callable[[int], tuple[optuna.samplers.BaseSampler, str]],
        suggest: Callable[[optuna.Trial], object],
        published: dict[str, ParameterValue],
    ) -> TrialRecord:
        """Ask the next trial of an arm; trial 0 is the published setting.

        A driver that died while asking left a trial without a number: it is asked to its end first.

        Args:
            arm: the arm.
            sampler_of: number in the arm → freshly seeded sampler and the name for ``sampled_by``.
            suggest: asks the trial for its parameters.
            published: parameters of trial 0.
        """
        study = self._studies[arm]
        half_asked = [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _half(t)]
        trials = study.get_trials(deepcopy=False)
        if not half_asked and not trials:
            study.enqueue_trial(published)
        number = half_asked[0].number if half_asked else sum(t.state != TrialState.WAITING for t in trials)
        study.sampler, sampled_by = sampler_of(number)
        trial = optuna.Trial(study, half_asked[0]._trial_id) if half_asked else study.ask()
        suggest(trial)
        trial.set_user_attr("sdl.sampled_by", sampled_by)
        trial.set_user_attr("sdl.trial", 1 + max((record.number for record in self.all()), default=-1))
        return _record(arm, study.get_trials(deepcopy=False)[trial.number])

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> TrialRecord:
        """Write one epoch; an epoch that is there already is left as it is."""
        arm, trial = self._find(number)
        if trial.state != TrialState.RUNNING or epoch in trial.intermediate_values:
            return _record(arm, trial)
        best = max([metrics[self._objective], *trial.intermediate_values.values()])
        self._storage.set_trial_user_attr(trial._trial_id, f"{_EPOCH}{epoch}", metrics)
        self._storage.set_trial_intermediate_value(trial._trial_id, epoch, best)
        return self.get(number)

    def attempt(self, number: int, attempts: int) -> None:
        """Note how many attempts a trial has had."""
        _, trial = self._find(number)
        if trial.user_attrs.get("sdl.attempts", 1) < attempts:
            self._storage.set_trial_user_attr(trial._trial_id, "sdl.attempts", attempts)

    def complete(self, number: int) -> None:
        """Tell that a trial ran to its last epoch."""
        self._tell(number, TrialState.COMPLETE)

    def prune(self, number: int) -> None:
        """Tell that a trial was stopped at a rung; its value is the best up to there."""
        self._tell(number, TrialState.PRUNED)

    def fail(self, number: int, reason: str, kind: FailureKind) -> None:
        """Tell that a trial failed, with the reason that is kept (never an exception's text)."""
        _, trial = self._find(number)
        if trial.state == TrialState.RUNNING:
            self._storage.set_trial_user_attr(trial._trial_id, "sdl.failure", kind)
            self._storage.set_trial_user_attr(trial._trial_id, "sdl.reason", reason)
        self._tell(number, TrialState.FAIL)

    def _tell(self, number: int, state: TrialState) -> None:
        arm, trial = self._find(number)
        if trial.state != TrialState.RUNNING:
            return
        value = None
        if state == TrialState.COMPLETE:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        self._studies[arm].tell(trial.number, value, state=state)


def _cut_torn_line(path: Path) -> None:
    """A crash or a full disk may have left the last line without its end: what it said was never answered."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _TAIL)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def _half(trial: FrozenTrial) -> bool:
    return "sdl.trial" not in trial.user_attrs


def _failure(trial: FrozenTrial) -> FailureKind | None:
    """Studies of earlier versions kept the reason alone, and no trial of theirs was asked again but the machine's."""
    if trial.state != TrialState.FAIL:
        return None
    earlier = "machine" if trial.user_attrs.get("sdl.reason") == MACHINE else "setting"
    return trial.user_attrs.get("sdl.failure", earlier)


def _record(arm: str, trial: FrozenTrial) -> TrialRecord:
    attributes: dict[str, Any] = trial.user_attrs
    epochs = {
        epoch: attributes[f"{_EPOCH}{epoch}"]
        for epoch in sorted(trial.intermediate_values)
        if not math.isnan(trial.intermediate_values[epoch])
    }
    return TrialRecord(
        number=attributes["sdl.trial"],
        arm=arm,
        arm_number=trial.number,
        state=_STATES[trial.state],
        parameters=dict(trial.params),
        sampled_by=attributes["sdl.sampled_by"],
        epochs=epochs,
        values={epoch: trial.intermediate_values[epoch] for epoch in epochs},
        reason=attributes.get("sdl.reason"),
        attempts=attributes.get("sdl.attempts", 1),
        failure=_failure(trial),
    )
