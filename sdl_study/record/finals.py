"""The finals and controls that a declaration promises, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sdl_study.arms import BEFORE_TRAINING
from sdl_study.evaluation.predictions import PREDICTIONS_FILE, metrics_from_predictions
from sdl_study.record.declaration import Declaration, Winner
from sdl_study.record.files import StudyFiles
from sdl_study.record.outcome import Failure, Result, read_outcome
from sdl_study.space import ParameterValue

Role = Literal["final", "control"]


@dataclass(frozen=True)
class FinalSlot:
    """One final or control that a declaration promises.

    Attributes:
        name: the arm's, or the control's.
        role: which of the two.
        seed_number: which final seed; equal numbers make pairs. The seeds of a search's winners follow those of the
            search before.
        arm: the arm whose setting it uses; for a control without one, the reference arm.
        parameters: the searched parameters that it uses.
        folder: where its outcome, predictions and encoder lie.
        key: its name in the whole tracking database.
        search: of a final, which search its setting won.
    """

    name: str
    role: Role
    seed_number: int
    arm: str
    parameters: Mapping[str, ParameterValue]
    folder: Path
    key: str
    search: int = 0

    @property
    def predictions(self) -> Path:
        """Its scores of the test inputs, beside their labels."""
        return self.folder / PREDICTIONS_FILE


@dataclass(frozen=True)
class Final:
    """One final or control that has ended: a result with test metrics, or a failure of its own."""

    slot: FinalSlot
    outcome: Result | Failure
    test: Mapping[str, float] | None

    @property
    def name(self) -> str:
        """The arm's, or the control's."""
        return self.slot.name

    @property
    def role(self) -> Role:
        """Final or control."""
        return self.slot.role

    @property
    def predictions(self) -> Path:
        """Its scores of the test inputs, beside their labels."""
        return self.slot.predictions

    @property
    def result(self) -> Result | None:
        """Dev metrics and costs; None where it failed."""
        return self.outcome if isinstance(self.outcome, Result) else None

    @property
    def failure(self) -> str | None:
        """Why it failed."""
        return self.outcome.where if isinstance(self.outcome, Failure) else None


def final_slots(files: StudyFiles, declaration: Declaration) -> list[FinalSlot]:
    """Every final and control; that of the reference arm's encoder before training has every final seed."""
    each = declaration.final_seeds
    found = [
        _of_winner(files, declaration, winner, number)
        for number in range(each)
        for winner in declaration.winners
    ]
    reference = declaration.reference_arm
    chosen = declaration.winner(reference).parameters
    encoder = {key: value for key, value in chosen.items() if key.startswith("model.")}
    for name in declaration.controls:
        # The others learn nothing from a seed.
        seeds, parameters = (each * declaration.searches, encoder) if name in BEFORE_TRAINING else (1, {})
        found += [
            _slot(files, declaration, name, "control", number, reference, dict(parameters))
            for number in range(seeds)
        ]
    return found


def _of_winner(files: StudyFiles, declaration: Declaration, winner: Winner, number: int) -> FinalSlot:
    seed_number = winner.search * declaration.final_seeds + number
    slot = _slot(files, declaration, winner.arm, "final", seed_number, winner.arm, dict(winner.parameters))
    return replace(slot, search=winner.search)


def _slot(
    files: StudyFiles,
    declaration: Declaration,
    name: str,
    role: Role,
    number: int,
    arm: str,
    parameters: Mapping[str, ParameterValue],
) -> FinalSlot:
    key = f"{files.name}/{role}/{declaration.sha[:12]}/{name}/{number}"
    folder = files.final(declaration.sha, name, number)
    return FinalSlot(name, role, number, arm, parameters, folder, key)


def read_finals(files: StudyFiles, declaration: Declaration) -> list[Final]:
    """All finals and controls that have ended, with the test metrics of their own predictions."""
    return list(_ended(files, declaration))


def _ended(files: StudyFiles, declaration: Declaration) -> Iterator[Final]:
    for slot in final_slots(files, declaration):
        outcome = read_outcome(slot.folder)
        if isinstance(outcome, Failure):
            yield Final(slot, outcome, None)
        elif isinstance(outcome, Result) and slot.predictions.exists():
            yield Final(slot, outcome, metrics_from_predictions(slot.predictions))
