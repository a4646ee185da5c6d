"""The finals and controls that a declaration promises, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sdl_study.arms import AGAIN, BEFORE_TRAINING
from sdl_study.evaluation.predictions import PREDICTIONS_FILE, metrics_from_predictions
from sdl_study.record.declaration import Declaration, Winner
from sdl_study.record.files import StudyFiles
from sdl_study.record.outcome import Failure, Result, read_outcome
from sdl_study.space import ParameterValue
from sdl_study.stages import PROBE, Stage

Role = Literal["final", "control"]


@dataclass(frozen=True)
class FinalSlot:
    """One final or control that a declaration promises.

    Attributes:
        name: the arm's, or the control's; ``aa`` of an arm that is trained once more.
        role: which of the two.
        seed_number: which final seed; equal numbers make pairs. The seeds of a search's winners follow those of the
            search before.
        arm: the arm whose setting it uses; for a control without one, the reference arm.
        parameters: the searched parameters that it uses.
        folder: where its outcome, predictions and encoder lie.
        key: its name in the whole tracking database.
        search: of a final, which search its setting won.
        stage: after which last stage it scores.
        start: of a fine-tuning, the folder of the arm's final of the same seed, which pretrained the encoder; None of a
            control, which has the encoder before training.
    """

    name: str
    role: Role
    seed_number: int
    arm: str
    parameters: Mapping[str, ParameterValue]
    folder: Path
    key: str
    search: int = 0
    stage: Stage = PROBE
    start: Path | None = None

    @property
    def predictions(self) -> Path:
        """Its scores of the test inputs, beside their labels."""
        return self.folder / PREDICTIONS_FILE

    @property
    def purpose(self) -> tuple[str | int, ...]:
        """What its seed is derived for: that of ``aa`` is another than the arm's own of the same number."""
        return ("final", self.seed_number, *((AGAIN,) if self.is_again else ()))

    @property
    def is_again(self) -> bool:
        """Whether it trains an arm's setting once more."""
        return self.role == "final" and self.name != self.arm


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
    """Every final and control, of one stage after another; those of an arm that is trained once more after the arms'.

    That of the reference arm's encoder before training has every final seed; a control without an encoder has no last
    stage of its own, and stands with the first.
    """
    found = []
    for stage in declaration.stages:
        found += _finals(files, declaration, stage)
        found += _controls(files, declaration, stage)
    return found


def _finals(files: StudyFiles, declaration: Declaration, stage: Stage) -> list[FinalSlot]:
    each = declaration.final_seeds
    slots = [
        _of_winner(files, declaration, winner, winner.arm, number, stage)
        for number in range(each)
        for winner in declaration.winners
    ]
    again = [winner for winner in declaration.winners if winner.arm == declaration.aa]
    return slots + [
        _of_winner(files, declaration, winner, AGAIN, number, stage)
        for number in range(each)
        for winner in again
    ]


def _controls(files: StudyFiles, declaration: Declaration, stage: Stage) -> list[FinalSlot]:
    found = []
    reference = declaration.reference_arm
    chosen = declaration.winner(reference).parameters
    encoder = {key: value for key, value in chosen.items() if key.startswith("model.")}
    for name in declaration.controls:
        has_encoder = name in BEFORE_TRAINING
        if stage != PROBE and not has_encoder:
            continue
        # The others learn nothing from a seed.
        seeds = declaration.final_seeds * declaration.searches if has_encoder else 1
        parameters = encoder if has_encoder else {}
        found += [
            _slot(files, declaration, name, "control", number, reference, dict(parameters), stage)
            for number in range(seeds)
        ]
    return found


def _of_winner(
    files: StudyFiles, declaration: Declaration, winner: Winner, name: str, number: int, stage: Stage
) -> FinalSlot:
    seed_number = winner.search * declaration.final_seeds + number
    slot = _slot(files, declaration, name, "final", seed_number, winner.arm, dict(winner.parameters), stage)
    start = None if stage == PROBE else files.final(declaration.sha, name, seed_number)
    return replace(slot, search=winner.search, start=start)


def _slot(
    files: StudyFiles,
    declaration: Declaration,
    name: str,
    role: Role,
    number: int,
    arm: str,
    parameters: Mapping[str, ParameterValue],
    stage: Stage,
) -> FinalSlot:
    of_stage = "" if stage == PROBE else f"{stage}/"
    key = f"{files.name}/{role}/{declaration.sha[:12]}/{of_stage}{name}/{number}"
    folder = files.final(declaration.sha, name, number, stage)
    return FinalSlot(name, role, number, arm, parameters, folder, key, stage=stage)


def of_stage(finals: Sequence[Final], stage: Stage) -> list[Final]:
    """The finals and controls of one table: those that score after that stage, and the controls without an encoder."""
    return [
        final
        for final in finals
        if final.slot.stage == stage or (final.role == "control" and final.name not in BEFORE_TRAINING)
    ]


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
