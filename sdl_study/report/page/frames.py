"""A study as frames: what cards are drawn from. Nothing is read here but details of finals that have been scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sdl_study.evaluation.details import FinalDetails, details_of
from sdl_study.evaluation.verdict import Comparison
from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Result
from sdl_study.record.reading import StudyRecord
from sdl_study.record.trials import TrialRecord
from sdl_study.report.names import count_name

if TYPE_CHECKING:
    import polars as pl

_TRAIN = "train/"


@dataclass(frozen=True)
class ScoredFinal:
    """A final with its details."""

    slot: FinalSlot
    details: FinalDetails


@dataclass(frozen=True)
class StudyFrames:
    """The frames of one study, each made when a card first asks for it.

    Args:
        record: what the study has written so far.
    """

    record: StudyRecord

    @property
    def name(self) -> str:
        """Of the study."""
        return self.record.files.name

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in order."""
        return tuple(arm["name"] for arm in self.record.identity["arms"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """As the study began with."""
        return self.record.identity["settings"]

    @property
    def objective(self) -> str:
        """What was maximised on dev."""
        return str(self.settings["objective"])

    @property
    def restricted(self) -> bool:
        """Whether counts below ten are hidden."""
        return self.record.restricted

    @property
    def compared(self) -> tuple[str, ...]:
        """The method and what it is compared with; the best arm alone where nothing is declared against it."""
        declaration = self.record.declaration
        if declaration is None:
            return ()
        return declaration.primary_contrast or (declaration.best_arm_on_dev,)

    @cached_property
    def chosen(self) -> frozenset[int]:
        """Numbers of the trials that stand for their arms: declared, or best so far."""
        if self.record.declaration is not None:
            return frozenset(winner.trial for winner in self.record.declaration.winners)
        best: dict[tuple[str, int], TrialRecord] = {}
        for trial in self.record.trials:
            key, value = (trial.arm, trial.search), trial.objective
            if value is not None and trial.state != "failed":
                before = best.get(key)
                if before is None or before.objective is None or value > before.objective:
                    best[key] = trial
        return frozenset(trial.number for trial in best.values())

    @cached_property
    def trials(self) -> pl.DataFrame:
        """One row per trial, by number: what leaderboard.csv has, without its remarks."""
        rows = [
            {
                "trial": trial.number, "arm": trial.arm, "search": trial.search, "in_search": trial.arm_number,
                "state": trial.state, "objective": trial.objective, "best_epoch": trial.best_epoch,
                "epochs": len(trial.epochs), "seconds": round(trial.seconds, 3), "sampled_by": trial.sampled_by,
                "attempts": trial.attempts, "failure": trial.failure, "reason": trial.reason,
                "chosen": trial.number in self.chosen,
            }
            for trial in self.record.trials
        ]  # fmt: skip
        return _frame(rows, _TRIAL)

    @cached_property
    def parameters(self) -> pl.DataFrame:
        """One row per trial and searched parameter: trial, parameter, number (None for a word), word."""
        rows = [
            {
                "trial": trial.number,
                "parameter": name,
                "number": None if isinstance(value, bool | str | None) else float(value),
                "word": str(value),
            }
            for trial in self.record.trials
            for name, value in trial.parameters.items()
        ]
        return _frame(rows, _PARAMETER)

    @cached_property
    def epochs(self) -> pl.DataFrame:
        """One row per trial and epoch: the value on dev, and what was watched while it trained."""
        key = self.record.objective_key
        rows = [
            {
                "trial": trial.number, "arm": trial.arm, "epoch": epoch, "value": metrics.get(key),
                "loss": metrics.get(f"{_TRAIN}loss"), "collapse": metrics.get(f"{_TRAIN}collapse"),
                "effective_rank": metrics.get(f"{_TRAIN}effective_rank"), "seconds": metrics.get("seconds"),
                "chosen": trial.number in self.chosen,
            }
            for trial in self.record.trials
            for epoch, metrics in sorted(trial.epochs.items())
        ]  # fmt: skip
        return _frame(rows, _EPOCH)

    @property
    def contrasts(self) -> tuple[tuple[str, Comparison], ...]:
        """Every contrast of the answer with what it is: primary, A/A, secondary, or one arm under two names."""
        answer = self.record.answer
        if answer is None:
            return ()
        primary = () if answer.primary is None else (("primary", answer.primary),)
        primary += () if answer.aa is None else (("A/A", answer.aa),)
        secondary = tuple(("secondary", contrast) for contrast in answer.secondary)
        return (*primary, *secondary, *(("one arm, two names", contrast) for contrast in answer.twins))

    @cached_property
    def finals(self) -> pl.DataFrame:
        """One row per final and control that is promised: name, role, stage, seed, state, seconds, why it failed."""
        rows = []
        for final in self.record.finals:
            outcome = final.outcome
            done = isinstance(outcome, Result)
            rows.append({
                "name": final.slot.name, "role": final.slot.role, "stage": final.slot.stage,
                "search": final.slot.search, "seed": final.slot.seed_number,
                "state": "not yet" if outcome is None else "done" if done else "failed",
                "seconds": outcome.seconds if isinstance(outcome, Result) else None,
                "reason": getattr(outcome, "where", None),
            })  # fmt: skip
        return _frame(rows, _FINAL)

    @cached_property
    def labels(self) -> pl.DataFrame | None:
        """One row per label: index, code, name, train_count, band; None without the data set."""
        return None if self.record.dataset is None else self.record.dataset.labels()

    @cached_property
    def scored(self) -> Sequence[ScoredFinal]:
        """The arms' finals after the verdict's stage, with details; none before there is an answer."""
        if self.record.answer is None or self.labels is None:
            return ()
        bands = self.labels["band"].to_list()
        slots = [
            final.slot
            for final in self.record.finals
            if final.slot.name in self.arms and final.slot.stage == self.stage
        ]
        return [
            ScoredFinal(slot, details_of(slot.predictions, bands, private=self.restricted))
            for slot in slots
            if slot.predictions.exists()
        ]

    def of_arm(self, arm: str) -> list[ScoredFinal]:
        """The scored finals of an arm, by seed."""
        return sorted((f for f in self.scored if f.slot.name == arm), key=lambda f: f.slot.seed_number)

    @property
    def stage(self) -> str:
        """After which last stage test metrics are taken."""
        return str(self.settings["stage"])

    def why_no_test(self) -> str | None:
        """Why there are no results on test inputs, None where there are."""
        record = self.record
        if record.answer is None:
            return "The study has no answer yet; results on test inputs are shown once all its finals have ended."
        if record.dataset is None:
            return "The prepared data set is not where the study read it, so the labels' names and bands are not known."
        return None if self.scored else "No final has predictions."

    def shown(self, count: int) -> str:
        """A count in words; of restricted data one below ten is not told."""
        return count_name(count, self.restricted)


_TRIAL = {
    "trial": int, "arm": str, "search": int, "in_search": int, "state": str, "objective": float, "best_epoch": int,
    "epochs": int, "seconds": float, "sampled_by": str, "attempts": int, "failure": str, "reason": str, "chosen": bool,
}  # fmt: skip
_PARAMETER = {"trial": int, "parameter": str, "number": float, "word": str}
_EPOCH = {
    "trial": int, "arm": str, "epoch": int, "value": float, "loss": float, "collapse": float, "effective_rank": float,
    "seconds": float, "chosen": bool,
}  # fmt: skip
_FINAL = {
    "name": str, "role": str, "stage": str, "search": int, "seed": int, "state": str, "seconds": float, "reason": str,
}  # fmt: skip


def counted(number: int, word: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _frame(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, type]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(rows, schema=dict(schema), orient="row")
