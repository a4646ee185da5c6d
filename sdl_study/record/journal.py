"""The journal: the study's trials in Optuna's journal file, which is the only truth about them.

One Optuna study per arm, named ``STUDY/ARM``. What Optuna has no field for stands in user attributes under ``sdl.``
(``sdl_study.record.trials``). Everything else (MLflow, leaderboard, rungs) is derived from here.

``read`` never writes a byte and needs no lock: lines are only ever added, and the last one counts once it has its
end. ``open_for_driver`` holds the study's lock, cuts what a crash left of a last line, and may write.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from sdl_study.errors import UserError
from sdl_study.locks import take_lock
from sdl_study.record.files import StudyFiles
from sdl_study.record.trials import (
    ATTEMPTS,
    EPOCH,
    FAILURE,
    NUMBER,
    REASON,
    SAMPLED_BY,
    FailureKind,
    TrialRecord,
    is_asked,
    record_of,
)
from sdl_study.space import ParameterValue

SamplerOf = Callable[[int], tuple[optuna.samplers.BaseSampler, str]]


class _JournalFile(BaseJournalBackend):
    """Lines of JSON that are read on from where the last reading ended.

    Optuna's own backend takes a lock by a symbolic link for every line, which some file systems do not have; here
    the driver is alone by its lock on the study, and readers need none.
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self._path, self._writable = path, writable
        self._next, self._offset = 0, 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from a number on; one without its end is not there yet."""
        if log_number_from < self._next:
            self._next, self._offset = 0, 0
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number = self._next
                self._next, self._offset = number + 1, self._offset + len(line)
                if number >= log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines; they are on the disk when this returns."""
        if not self._writable:
            raise RuntimeError("a journal that was opened by read() is never written")
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


class Journal:
    """The trials of a study, as far as they are written."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._path = path
        try:
            self._storage = JournalStorage(_JournalFile(path, writable))
        except json.JSONDecodeError:
            raise UserError(
                f"{path}: damaged in the middle; put it back from a copy, or start again under --name"
            ) from None

    def _trials(self) -> Iterator[tuple[str, FrozenTrial]]:
        """Arm and trial of everything that was asked."""
        for study in self._storage.get_all_studies():
            arm = study.study_name.partition("/")[2]
            for trial in self._storage.get_all_trials(study._study_id, deepcopy=False):
                if is_asked(trial):
                    yield arm, trial

    def all(self) -> list[TrialRecord]:
        """Every asked trial, by number."""
        return sorted((record_of(arm, trial) for arm, trial in self._trials()), key=lambda r: r.number)

    def of_arm(self, arm: str) -> list[TrialRecord]:
        """The trials of an arm, in order of asking."""
        return [record for record in self.all() if record.arm == arm]

    def get(self, number: int) -> TrialRecord:
        """The trial with a number."""
        return record_of(*self._find(number))

    def _find(self, number: int) -> tuple[str, FrozenTrial]:
        for arm, trial in self._trials():
            if trial.user_attrs[NUMBER] == number:
                return arm, trial
        raise KeyError(f"{self._path} has no trial {number}")


class DriverJournal(Journal):
    """The journal as the one driver has it, which asks and tells.

    Args:
        path: the journal file; it is made when the first trial is asked.
        study: name of the study.
        arms: names of its arms, in order.
        objective: key of the dev metric that is maximised.

    Raises:
        UserError: the journal is damaged elsewhere than at its end.
    """

    def __init__(self, path: Path, study: str, arms: tuple[str, ...], objective: str) -> None:
        _cut_torn_line(path)
        super().__init__(path, writable=True)
        self._objective = objective
        self._studies = {arm: self._open(f"{study}/{arm}") for arm in arms}

    def _open(self, name: str) -> optuna.Study:
        return optuna.create_study(
            study_name=name,
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

    def ask(
        self,
        arm: str,
        sampler_of: SamplerOf,
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
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        half_asked = [trial for trial in running if not is_asked(trial)]
        trials = study.get_trials(deepcopy=False)
        if not half_asked and not trials:
            study.enqueue_trial(published)
        number = half_asked[0].number if half_asked else sum(t.state != TrialState.WAITING for t in trials)
        study.sampler, sampled_by = sampler_of(number)
        trial = optuna.Trial(study, half_asked[0]._trial_id) if half_asked else study.ask()
        suggest(trial)
        trial.set_user_attr(SAMPLED_BY, sampled_by)
        trial.set_user_attr(NUMBER, 1 + max((record.number for record in self.all()), default=-1))
        return record_of(arm, study.get_trials(deepcopy=False)[trial.number])

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> TrialRecord:
        """Write one epoch; an epoch that is there already is left as it is."""
        arm, trial = self._find(number)
        if trial.state != TrialState.RUNNING or epoch in trial.intermediate_values:
            return record_of(arm, trial)
        best = max([metrics[self._objective], *trial.intermediate_values.values()])
        self._storage.set_trial_user_attr(trial._trial_id, f"{EPOCH}{epoch}", metrics)
        self._storage.set_trial_intermediate_value(trial._trial_id, epoch, best)
        return self.get(number)

    def attempt(self, number: int, attempts: int) -> None:
        """Note how many attempts a trial has had."""
        _, trial = self._find(number)
        if trial.user_attrs.get(ATTEMPTS, 1) < attempts:
            self._storage.set_trial_user_attr(trial._trial_id, ATTEMPTS, attempts)

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
            self._storage.set_trial_user_attr(trial._trial_id, FAILURE, kind)
            self._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
        self._tell(number, TrialState.FAIL)

    def _tell(self, number: int, state: TrialState) -> None:
        arm, trial = self._find(number)
        if trial.state != TrialState.RUNNING:
            return
        value = None
        if state == TrialState.COMPLETE:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        self._studies[arm].tell(trial.number, value, state=state)


def read(path: Path) -> Journal:
    """The journal for whoever only looks; a file that is not there has no trial."""
    return Journal(path)


@contextmanager
def open_for_driver(files: StudyFiles, arms: Iterable[str], objective: str) -> Iterator[DriverJournal]:
    """The journal for the one driver of a study: its folder is locked, and a torn last line is cut off.

    Raises:
        UserError: another process runs this study, its folder takes no lock, or the journal is damaged.
    """
    with locked(files):
        yield DriverJournal(files.journal, files.name, tuple(arms), objective)


@contextmanager
def locked(files: StudyFiles) -> Iterator[None]:
    """Hold the study's folder against a second driver.

    Raises:
        UserError: another process holds it, or the file system knows no locks.
    """
    with ExitStack() as undo:
        _make_folders(files.folder, undo)
        if not files.lock.exists():
            undo.callback(files.lock.unlink)
        with files.lock.open("a+") as handle:
            if not take_lock(handle, files.folder, wait=False):
                undo.pop_all()  # what is there is the other process's
                raise UserError(f"{files.folder}: another process runs this study; wait for it or use --name")
            undo.pop_all()
            yield


def _make_folders(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it; ``undo`` takes those away again that were not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        undo.callback(_remove_empty, path)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody else has put something there
        folder.rmdir()


def _cut_torn_line(path: Path) -> None:
    """A crash or a full disk may have left the last line without its end: what it said was never answered."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content_end = file.seek(0, os.SEEK_END)
        file.truncate(_end_of_last_line(file, content_end))


def _end_of_last_line(file: Any, end: int, step: int = 1 << 16) -> int:
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
