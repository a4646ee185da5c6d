"""Which of a search's best trials stands for it, by its repeats on further seeds.

On the split as it is, the best mean. Where every seed draws train and dev anew, dev is small, the draws differ much,
and the best of several means is mostly the luckiest: then the published setting stays unless the best is better by
more than the standard error of their paired difference over the draws. This is the one-standard-error rule (Breiman,
Friedman, Olshen and Stone 1984, Classification and Regression Trees, 3.4.3), with the published setting in the place of
the simplest one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from sdl_study.record.outcome import Outcome, Repeat
from sdl_study.record.trials import TrialRecord


@dataclass(frozen=True)
class Choice:
    """The trial that was chosen.

    Attributes:
        record: the trial.
        dev: its value, by which it was chosen.
        words: why the published setting stayed although another was better; empty where that is not so.
    """

    record: TrialRecord
    dev: float
    words: str = ""


@dataclass(frozen=True)
class Repeated:
    """A trial and what became of its repeats, in the order of their seeds."""

    record: TrialRecord
    outcomes: tuple[Outcome | None, ...]

    @cached_property
    def ended(self) -> dict[int, Repeat]:
        """Repeats with a value, by number of the seed."""
        return {
            number: outcome for number, outcome in enumerate(self.outcomes) if isinstance(outcome, Repeat)
        }

    @property
    def failed(self) -> int:
        """How many repeats have none."""
        return len(self.outcomes) - len(self.ended)

    @property
    def mean(self) -> float:
        """Over the search's value and those of the repeats, of each the best epoch's."""
        return fmean([float(self.record.objective or 0), *(found.objective for found in self.ended.values())])

    @cached_property
    def on_draws(self) -> dict[int, float]:
        """The value of every draw at the epoch that is best on all of them together, by number of the draw.

        The best epoch of each would count luck: of a curve that goes up and down, its best point. The search's value,
        by which the trial came here, does not count.
        """
        curves = {number: found.epochs or (found.objective,) for number, found in self.ended.items()}
        means = [fmean(values) for values in zip(*curves.values(), strict=False)]
        best = means.index(max(means)) if means else 0
        return {number: curve[best] for number, curve in curves.items()}

    def place(self, value: float) -> tuple[int, bool, float, int]:
        """Sorts: who failed stands behind, then whom ASHA stopped, then by value; the earlier on a tie."""
        return self.failed, self.record.state != "complete", -value, self.record.number


def best_mean(repeated: Sequence[Repeated]) -> Choice:
    """The best mean of dev over the search's and the selection's seeds."""
    best = min(repeated, key=lambda trial: trial.place(trial.mean))
    return Choice(best.record, best.mean)


def published_unless_better(repeated: Sequence[Repeated]) -> Choice:
    """The published setting, unless the best mean over the draws is better by more than its standard error.

    Without a published setting, or where it or the best failed on a draw, the best.
    """
    means = {trial.record.number: _mean(trial) for trial in repeated}
    best = min(repeated, key=lambda trial: trial.place(means[trial.record.number]))
    found = Choice(best.record, means[best.record.number])
    published = next((trial for trial in repeated if trial.record.is_published), best)
    if published is best or best.failed or published.failed:
        return found
    more = [value - published.on_draws[number] for number, value in best.on_draws.items()]
    error = stdev(more) / math.sqrt(len(more))
    if fmean(more) > error:
        return found
    return Choice(
        published.record,
        means[published.record.number],
        f"the published setting stays (trial {published.record.number}): trial {best.record.number} is better on dev "
        f"by {fmean(more):.4f}, which is not more than the standard error {error:.4f} over {len(more)} draws",
    )


def _mean(trial: Repeated) -> float:
    return fmean(trial.on_draws.values()) if trial.on_draws else float(trial.record.objective or 0)
