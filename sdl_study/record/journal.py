"""The journal: the study's trials in Optuna's journal file, which is the only truth about them.

One Optuna study per arm, named ``STUDY/ARM``; of an arm with several independent searches one for each,
``STUDY/ARM/0``, ``STUDY/ARM/1``, and so on. What Optuna has no field for stands in user attributes under ``sdl.``
(``sdl_study.record.trials``). Everything else (MLflow, leaderboard, rungs) is derived from here.

``read`` never writes a byte and needs no lock: lines are only ever added, and the last one counts once it has its
end. ``open_for_driver`` holds the study's lock, cuts what a crash left of a last line, and may write.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.held import locked
from sdl_study.record.journal_file import JournalFile, cut_torn_line
from sdl_study.record.trials import (
    ATTEMPTS,
    EPOCH,
    FAILURE,
    GPUS,
    NUMBER,
    REASON,
    SAMPLED_BY,
    FailureKind,
    TrialRecord,
    is_asked,
    record_of,
)
from sdl_study.space import ParameterValue

SECONDS = "sdl.seconds"
SamplerOf = Callable[[int], tuple[optuna.samplers.BaseSampler, str]]


class Journal:
    """The trials of a study, as far as they are written.

    A trial that has ended never changes again: its record is made once, and what is asked at every epoch costs no more
    late in a study than early.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._path = path
        self._made: dict[int, TrialRecord] = {}
        self._places: dict[int, tuple[str, int, int]] = {}
        try:
            self._storage = JournalStorage(JournalFile(path, writable))
        except json.JSONDecodeError:
            raise UserError(
                f"{path}: damaged in the middle; put it back from a copy, or start again under --name"
            ) from None

    def _studies_of(self) -> Iterator[tuple[str, int, FrozenStudy]]:
        """Arm, search and Optuna's study of every search."""
        for study in self._storage.get_all_studies():
            _, arm, *search = study.study_name.split("/")
            yield arm, int(search[0]) if search else 0, study

    def _records(self, arm: str, search: int, study_id: int) -> Iterator[TrialRecord]:
        """Of a search, everything that was asked."""
        for trial in self._storage.get_all_trials(study_id, deepcopy=False):
            if trial._trial_id in self._made:
                yield self._made[trial._trial_id]
            elif is_asked(trial):
                yield self._record(arm, search, trial)

    def _record(self, arm: str, search: int, trial: FrozenTrial) -> TrialRecord:
        record = record_of(arm, search, trial)
        self._places[record.number] = (arm, search, trial._trial_id)
        if trial.state.is_finished():
            self._made[trial._trial_id] = record
        return record

    def all(self) -> list[TrialRecord]:
        """Every asked trial, by number."""
        found = [
            record
            for arm, search, study in self._studies_of()
            for record in self._records(arm, search, study._study_id)
        ]
        return sorted(found, key=lambda record: record.number)

    def of_arm(self, arm: str) -> list[TrialRecord]:
        """The trials of an arm, in order of asking."""
        return [record for record in self.all() if record.arm == arm]

    def of_search(self, arm: str, search: int) -> list[TrialRecord]:
        """The trials of one search of an arm, in order of asking."""
        own = [study for *of, study in self._studies_of() if (*of,) == (arm, search)]
        return [record for study in own for record in self._records(arm, search, study._study_id)]

    def get(self, number: int) -> TrialRecord:
        """The trial with a number."""
        arm, search, trial = self._find(number)
        return self._made.get(trial._trial_id) or self._record(arm, search, trial)

    def _find(self, number: int) -> tuple[str, int, FrozenTrial]:
        if number not in self._places:
            self.all()
        if number not in self._places:
            raise KeyError(f"{self._path} has no trial {number}")
        arm, search, trial_id = self._places[number]
        return arm, search, self._storage.get_trial(trial_id)

    @property
    def seconds(self) -> float:
        """In which the search ran, over all commands; from before this was noted none."""
        noted = [study.user_attrs.get(SECONDS, 0.0) for *_, study in self._studies_of()]
        return float(max(noted, default=0.0))


class DriverJournal(Journal):
    """The journal as the one driver has it, which asks and tells.

    Args:
        path: the journal file; it is made when the first trial is asked.
        study: name of the study.
        arms: names of its arms, in order.
        objective: key of the dev metric that is maximised.
        searches: independent searches of every arm.

    Raises:
        UserError: the journal is damaged elsewhere than at its end.
    """

    def __init__(
        self, path: Path, study: str, arms: tuple[str, ...], objective: str, searches: int = 1
    ) -> None:
        cut_torn_line(path)
        super().__init__(path, writable=True)
        self._objective = objective
        self._studies = {
            (arm, search): self._open(f"{study}/{arm}" if searches == 1 else f"{study}/{arm}/{search}")
            for search in range(searches)
            for arm in arms
        }
        self.all()  # every trial's number is known from now on

    def _open(self, name: str) -> optuna.Study:
        return optuna.create_study(
            study_name=name,
            storage=self._storage,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )

    @property
    def searches(self) -> tuple[tuple[str, int], ...]:
        """Every search, as arm and number: the first of all arms in the study's order, then the second, ..."""
        return tuple(self._studies)

    def optuna_study(self, arm: str, search: int = 0) -> optuna.Study:
        """The Optuna study of a search of an arm."""
        return self._studies[arm, search]

    def ask(
        self,
        arm: str,
        sampler_of: SamplerOf,
        suggest: Callable[[optuna.Trial], object],
        first: Sequence[Mapping[str, ParameterValue]],
        search: int = 0,
    ) -> TrialRecord:
        """Ask the next trial of a search; its trial 0 is the published setting, the first of ``first``.

        A driver that died while asking left a trial without a number: it is asked to its end first.

        Args:
            arm: the arm.
            sampler_of: number in the search → freshly seeded sampler and the name for ``sampled_by``.
            suggest: asks the trial for its parameters.
            first: parameters of the first trials; those that one leaves out are asked of the sampler.
            search: which of the arm's.
        """
        study = self._studies[arm, search]
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        half_asked = [trial for trial in running if not is_asked(trial)]
        trials = study.get_trials(deepcopy=False)
        for point in first[len(trials) :]:  # all of them, or those that a driver which died had not queued
            study.enqueue_trial(dict(point))
        if len(trials) < len(first):
            trials = study.get_trials(deepcopy=False)
        number = half_asked[0].number if half_asked else sum(t.state != TrialState.WAITING for t in trials)
        study.sampler, sampled_by = sampler_of(number)
        trial = optuna.Trial(study, half_asked[0]._trial_id) if half_asked else study.ask()
        suggest(trial)
        trial.set_user_attr(SAMPLED_BY, sampled_by)
        trial.set_user_attr(NUMBER, 1 + max(self._places, default=-1))
        return self._record(arm, search, study.get_trials(deepcopy=False)[trial.number])

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> TrialRecord:
        """Write one epoch; an epoch that is there already is left as it is."""
        arm, search, trial = self._find(number)
        if trial.state != TrialState.RUNNING or epoch in trial.intermediate_values:
            return self._record(arm, search, trial)
        best = max([metrics[self._objective], *trial.intermediate_values.values()])
        self._storage.set_trial_user_attr(trial._trial_id, f"{EPOCH}{epoch}", metrics)
        self._storage.set_trial_intermediate_value(trial._trial_id, epoch, best)
        return self.get(number)

    def note_seconds(self, seconds: float) -> None:
        """Note in how much time the search has run, over all commands."""
        study = next(iter(self._studies.values()))
        self._storage.set_study_user_attr(study._study_id, SECONDS, seconds)

    def note_gpus(self, number: int, gpus: float) -> None:
        """Note how many GPUs a trial claims."""
        *_, trial = self._find(number)
        if trial.state == TrialState.RUNNING and trial.user_attrs.get(GPUS, 0.0) != gpus:
            self._storage.set_trial_user_attr(trial._trial_id, GPUS, gpus)

    def attempt(self, number: int, attempts: int) -> None:
        """Note how many attempts a trial has had."""
        *_, trial = self._find(number)
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
        *_, trial = self._find(number)
        if trial.state == TrialState.RUNNING:
            self._storage.set_trial_user_attr(trial._trial_id, FAILURE, kind)
            self._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
        self._tell(number, TrialState.FAIL)

    def _tell(self, number: int, state: TrialState) -> None:
        arm, search, trial = self._find(number)
        if trial.state != TrialState.RUNNING:
            return
        value = None
        if state == TrialState.COMPLETE:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        self._studies[arm, search].tell(trial.number, value, state=state)


def read(path: Path) -> Journal:
    """The journal for whoever only looks; a file that is not there has no trial."""
    return Journal(path)


@contextmanager
def open_for_driver(
    files: StudyFiles, arms: Iterable[str], objective: str, searches: int = 1
) -> Iterator[DriverJournal]:
    """The journal for the one driver of a study: its folder is locked, and a torn last line is cut off.

    Raises:
        UserError: another process runs this study, its folder takes no lock, or the journal is damaged.
    """
    with locked(files):
        yield DriverJournal(files.journal, files.name, tuple(arms), objective, searches)
