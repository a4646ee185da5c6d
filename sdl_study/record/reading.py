"""A whole study as its folder has it: what every report is made from, while it runs and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdl_study.errors import UserError, note_terms
from sdl_study.evaluation.objective import objective_key
from sdl_study.record.answer import Answer, read_answer
from sdl_study.record.dataset import DatasetRecord, find_dataset
from sdl_study.record.declaration import Declaration, read_declaration
from sdl_study.record.environment import read_environments
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import FinalSlot, final_slots
from sdl_study.record.identity import read_identity
from sdl_study.record.journal import read
from sdl_study.record.outcome import Outcome, read_outcome
from sdl_study.record.trials import TrialRecord


@dataclass(frozen=True)
class FinalRecord:
    """One final or control that the declaration promises, and what became of it; None while nothing has."""

    slot: FinalSlot
    outcome: Outcome | None


@dataclass(frozen=True)
class StudyRecord:
    """What a study has written so far.

    Attributes:
        files: its paths.
        identity: study.json.
        trials: all of them, by number.
        declaration: in force; None before there is one.
        answer: under that declaration; None before there is one.
        finals: all that the declaration promises.
        dataset: None where the prepared data set is not where it was.
        environments: with what it ran.
        seconds: in which its search ran, over all commands.
    """

    files: StudyFiles
    identity: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    declaration: Declaration | None
    answer: Answer | None
    finals: Sequence[FinalRecord]
    dataset: DatasetRecord | None
    environments: Sequence[Mapping[str, Any]]
    seconds: float = 0.0

    @property
    def restricted(self) -> bool:
        """Whether its data's terms keep everything about single records in the folder."""
        return self.identity.get("terms", "restricted") != "open"

    @property
    def objective_key(self) -> str:
        """Under which key the epochs of a trial have what was maximised."""
        settings = self.identity["settings"]
        return objective_key(settings["objective"], settings["objective_min_positives"])


def read_study(files: StudyFiles) -> StudyRecord:
    """Everything of a study; nothing is written, and predictions are not opened.

    Raises:
        UserError: there is no study of this name, or one of its files is damaged.
    """
    if not files.study_json.exists():
        raise UserError(
            f"{files.folder}: there is no study of this name; --out names another folder of studies"
        )
    identity = read_identity(files.study_json)
    note_terms(identity.get("terms", "restricted"))
    declaration = read_declaration(files)
    answer = read_answer(files.answer) if files.answer.exists() else None
    if answer is not None and (declaration is None or answer.declaration != declaration.sha):
        answer = None  # the study went on, and has finals of its new declaration to run
    journal = read(files.journal)
    return StudyRecord(
        files=files,
        identity=identity,
        trials=journal.all(),
        declaration=declaration,
        answer=answer,
        finals=_finals(files, declaration),
        dataset=find_dataset(files, identity),
        environments=read_environments(files),
        seconds=journal.seconds,
    )


def _finals(files: StudyFiles, declaration: Declaration | None) -> Sequence[FinalRecord]:
    """The one place where reports learn of finals."""
    if declaration is None:
        return ()
    return [FinalRecord(slot, read_outcome(slot.folder)) for slot in final_slots(files, declaration)]
