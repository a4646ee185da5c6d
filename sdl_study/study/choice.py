"""Which of a search's best trials stands for it, by its repeats on further seeds.

On the split as it is, the best mean. Where every seed has a fold of train and dev, dev is small, and the best epoch of
each fold counts luck; there a trial has one epoch for all folds, that of its best mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sdl_study.record.outcome import Outcome, Repeat
from sdl_study.record.trials import TrialRecord


@dataclass(frozen=True)
class Repeated:
    """A trial and what became of its repeats, in the order of their seeds."""

    record: TrialRecord
    outcomes: tuple[Outcome | None, ...]

    @property
    def ended(self) -> list[Repeat]:
        """Repeats with a value."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Repeat)]

    @property
    def failed(self) -> int:
        """How many repeats have none."""
        return len(self.outcomes) - len(self.ended)

    @property
    def mean(self) -> float:
        """Over the search's value and those of the repeats, of each the best epoch's."""
        return fmean([float(self.record.objective or 0), *(found.objective for found in self.ended)])

    @property
    def mean_over_folds(self) -> float:
        """Over the folds, at the epoch at which it is best.

        The best epoch of each fold would count luck: of a curve that goes up and down, its best point. The search's
        value, by which the trial came here, does not count. Repeats that an earlier version ran or began have no whole
        curve: then the best epoch of each counts after all.
        """
        curves = [found.epochs for found in self.ended]
        lengths = {len(curve) for curve in curves}
        if len(lengths) == 1 and 0 not in lengths:
            return max(fmean(of_epoch) for of_epoch in zip(*curves, strict=True))
        return fmean([found.objective for found in self.ended] or [float(self.record.objective or 0)])


def chosen(repeated: Sequence[Repeated], folds: bool) -> tuple[TrialRecord, float]:
    """The trial with the best mean, and the mean.

    Who failed on a seed stands behind those that did not, then whom ASHA stopped; the earlier is first on a tie.

    Args:
        repeated: those to choose from.
        folds: whether each seed had a fold of train and dev.
    """

    def value(trial: Repeated) -> float:
        return trial.mean_over_folds if folds else trial.mean

    def place(trial: Repeated) -> tuple[int, bool, float, int]:
        return trial.failed, trial.record.state != "complete", -value(trial), trial.record.number

    best = min(repeated, key=place)
    return best.record, value(best)
