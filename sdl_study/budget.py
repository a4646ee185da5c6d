"""How much a search may spend, what it has spent, and which of its limits ended it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from sdl_study.mistakes import count_or_auto
from sdl_study.stages import Section

HOUR = 3600.0
FEW_DEV = 200
"""Dev examples below which luck decides among settings that are close; a choice of ours, not a measured border."""
Limit = Literal["trials", "hours", "gpu_hours"]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BudgetSettings(Section):
    """How much is spent on each arm, the same for all.

    ``first_rung`` is the first epoch after which a trial may be stopped; "auto" finds one behind the warm-up and some
    hundred updates. The ``trials`` of an arm are shared out evenly to ``searches`` independent searches, each with
    samplers, seeds, a winner and finals of its own: with several, the verdict is about methods, with one about the
    settings that were chosen. ``final_seeds`` counts per winner; ``"auto"`` is decided at the declaration, from how
    long trials took.

    The ``selection_top`` trials of a search run again on ``selection_seeds`` further seeds. With ``selection_split``
    "folds" they and the published setting run on ``selection_folds`` seeds, each with one of as many folds of train and
    dev as its dev: patients' notes together, no example in two of them, the test split untouched, so that a setting is
    not chosen for one small dev split; "auto" does so where dev has fewer than 200 examples, "kept" never. Without
    selection seeds nothing runs again.

    ``hours`` and ``gpu_hours`` are limits of the whole search, over all commands that worked on it: the time in which
    it ran, and the GPUs' time in trials. Arms are asked in turn, so that they share it evenly. What comes first, one of
    these or ``trials``, ends the search, but not before every search has its first trial.
    """

    trials: int = Field(default=4, ge=1)
    searches: int = Field(default=1, ge=1)
    hours: Hours | None = None
    gpu_hours: Hours | None = None
    reduction_factor: int = Field(default=2, ge=2)
    first_rung: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    final_seeds: Annotated[int | Literal["auto"], PlainValidator(count_or_auto)] = 1
    selection_seeds: int = Field(default=0, ge=0)
    selection_top: int = Field(default=3, ge=1)
    selection_split: Literal["auto", "kept", "folds"] = "auto"
    selection_folds: int = Field(default=5, ge=2)
    max_attempts: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _shared_evenly(self) -> BudgetSettings:
        if self.trials % self.searches:
            enough = self.searches * math.ceil(self.trials / self.searches)
            raise ValueError(
                f"{self.searches} searches cannot share {self.trials} trials evenly; for example {enough} can be"
            )
        return self

    @property
    def trials_of_search(self) -> int:
        """Trials of each of an arm's searches."""
        return self.trials // self.searches

    def uses_folds(self, dev_examples: int) -> bool:
        """Whether the selection's seeds have folds of train and dev."""
        few = self.selection_split == "auto" and dev_examples < FEW_DEV
        return self.selection_seeds > 0 and (few or self.selection_split == "folds")

    def repeats(self, folds: bool) -> int:
        """How often a search's best trials run again.

        Args:
            folds: whether each has a fold of train and dev.
        """
        return self.selection_folds if folds else self.selection_seeds

    @property
    def by_time(self) -> bool:
        """Whether time may end the search before the number of trials does."""
        return self.hours is not None or self.gpu_hours is not None

    def seconds_left(self, spent: Spent) -> float:
        """Until ``hours`` or ``gpu_hours`` are over, these at the pace so far; infinite without a limit of time.

        Args:
            spent: so far.
        """
        left = [math.inf]
        if self.hours is not None:
            left.append(self.hours * HOUR - spent.seconds)
        if self.gpu_hours is not None and spent.gpu_seconds:
            left.append((self.gpu_hours * HOUR / spent.gpu_seconds - 1) * spent.seconds)
        return max(0.0, min(left))

    def ended_by(self, spent: Spent) -> Limit | None:
        """Which limit is reached, so that no trial is asked any more; None while there is none.

        Args:
            spent: so far.
        """
        if spent.fewest >= self.trials_of_search:
            return "trials"
        if not spent.fewest:
            return None
        if self.hours is not None and spent.seconds >= self.hours * HOUR:
            return "hours"
        if self.gpu_hours is not None and spent.gpu_seconds >= self.gpu_hours * HOUR:
            return "gpu_hours"
        return None


@dataclass(frozen=True)
class Spent:
    """What a study's searches have had.

    Attributes:
        fewest: trials of the search that has had the fewest; those that the machine ended do not count.
        seconds: in which the search ran, over all commands; from before this was noted none.
        gpu_seconds: of its trials' training and probing, times the GPUs that each had.
    """

    fewest: int
    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def words(self, budget: BudgetSettings) -> str:
        """``1.2 of 8 h, 2 of 6 GPU hours``; nothing without a limit of time."""
        parts = []
        if budget.hours is not None:
            parts.append(f"{self.seconds / HOUR:.2g} of {budget.hours:g} h")
        if budget.gpu_hours is not None:
            parts.append(f"{self.gpu_seconds / HOUR:.2g} of {budget.gpu_hours:g} GPU hours")
        return ", ".join(parts)


LIMITS: dict[Limit, str] = {"trials": "trials", "hours": "hours", "gpu_hours": "GPU hours"}
"""What may end a search, in words."""


def ended_words(limit: Limit, budget: BudgetSettings, spent: Spent) -> str:
    """That a limit of time ended the search, after what."""
    return (
        f"the search ended by its {LIMITS[limit]} ({spent.words(budget)}; budget.{limit}): no new trial is asked; the "
        "same command with more of them extends it"
    )
