"""What the trials tell about an arm beside its value: was it still rising, at the edge of a range, could it learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sdl_study.record.trials import TrialRecord
from sdl_study.space import Parameter, ParameterValue, SearchSpace

if TYPE_CHECKING:
    from jaxtyping import Float

VALID_ANCHORS = "train/valid_anchor_fraction"
LEAST_VALID_ANCHORS = 0.01
_EDGE = 0.05  # of a range, from either end
_SEEN = 5e-4  # a smaller rise is not seen where dev is printed with three decimals
# Of what was gained since the first epoch: a curve that approaches its end exponentially, and whose last quarter adds
# so much, has two more hundredths ahead. A learning rate that decays flattens every curve: the share is small.
_SHARE = 0.03
_ERRORS = 2.0
_FEWEST_EPOCHS = 4


@dataclass(frozen=True)
class Convergence:
    """Whether an arm was still rising where its training ended.

    Attributes:
        rising: whether dev rose by more than the error, and by more than a small share of what it gained in all, to
            values that a winner had not had before its last quarter.
        rise: of dev over the last quarter of the winner's epochs, by a straight line through them; mean over winners.
        gained: by dev from the first epoch to the last; mean over winners.
        last_half: by dev over the last half of the epochs, about what twice as many would bring; mean over winners.
        error: what the rise is measured by: the standard error of dev over the final seeds of one setting or, with
            one seed, twice the error that the epochs' own noise leaves in ``rise``.
        over: where the error comes from.
        epochs: of a winner.
        best_epoch: of the winner; of several the latest.
    """

    rising: bool
    rise: float
    gained: float
    last_half: float
    error: float
    over: Literal["seeds", "epochs"]
    epochs: int
    best_epoch: int


@dataclass(frozen=True)
class Edge:
    """A winner's parameter that stands at an end of its range."""

    parameter: str
    end: Literal["low", "high"]
    value: float


def convergence(
    winners: Sequence[TrialRecord], objective: str, finals: Sequence[Sequence[float]]
) -> Convergence | None:
    """Whether an arm was still rising at the end of its training.

    Args:
        winners: its winners' trials.
        objective: key of the dev value.
        finals: dev of every winner's finals.

    Returns:
        None where no winner has run long enough to tell: one that ASHA stopped tells nothing of its end.
    """
    curves = [
        [metrics[objective] for _, metrics in sorted(record.epochs.items())]
        for record in winners
        if record.state == "complete" and len(record.epochs) >= _FEWEST_EPOCHS
    ]
    if not curves:
        return None
    found = [_rise(np.asarray(curve)) for curve in curves]
    rise = fmean(value for value, _ in found)
    gained = fmean(curve[-1] - curve[0] for curve in curves)
    several = [dev for dev in finals if len(dev) > 1]
    over_seeds = math.sqrt(sum(variance(dev) / len(dev) for dev in several)) / max(1, len(several))
    of_epochs = _ERRORS * math.sqrt(sum(error**2 for _, error in found)) / len(found)
    error = over_seeds if several else of_epochs
    return Convergence(
        rising=rise > max(error, _SHARE * gained, _SEEN) and any(map(_is_best_at_its_end, curves)),
        rise=rise,
        gained=gained,
        last_half=fmean(curve[-1] - curve[-1 - len(curve) // 2] for curve in curves),
        error=error,
        over="seeds" if several else "epochs",
        epochs=max(map(len, curves)),
        best_epoch=max(record.best_epoch or 0 for record in winners),
    )


def _is_best_at_its_end(curve: Sequence[float]) -> bool:
    """Whether the best value lies in the last quarter: one that only comes back to what it was gains nothing more."""
    return int(np.argmax(curve)) >= len(curve) - math.ceil(len(curve) / 4)


def _rise(curve: Float[np.ndarray, " epochs"]) -> tuple[float, float]:
    """How much a curve rises over its last quarter, and the standard error that its noise leaves in that.

    The noise is told by the steps down in its second half: half of the steps of noise go down, and none of a curve that
    rises without noise, however it flattens.
    """
    quarter = math.ceil(curve.size / 4)
    last = np.arange(quarter + 1.0)
    slope = float(np.polyfit(last, curve[-last.size :], 1)[0])
    down = np.minimum(np.diff(curve[-max(_FEWEST_EPOCHS, curve.size // 2 + 1) :]), 0.0)
    noise = math.sqrt(float(np.square(down).mean()))
    return quarter * slope, quarter * noise / math.sqrt(float(np.square(last - last.mean()).sum()))


def edges(space: SearchSpace, arm: str, parameters: Mapping[str, ParameterValue]) -> tuple[Edge, ...]:
    """The parameters of a setting that stand within a twentieth of their range from one of its ends.

    The range is that of logarithms where the search's is. Choices among numbers have ends too, where there are three
    or more.
    """
    found = []
    for parameter in space.of_arm(arm):
        value = parameters.get(parameter.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        place = _place(parameter, float(value))
        if place is not None and not _EDGE < place < 1 - _EDGE:
            found.append(Edge(parameter.name, "low" if place < 0.5 else "high", float(value)))
    return tuple(found)


def _place(parameter: Parameter, value: float) -> float | None:
    """Where in its range a value stands, from 0 to 1; None where the range has no ends."""
    distribution: Any = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        numbers = [float(c) for c in choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) < len(choices) or len(choices) < 3:
            return None
        return sorted(numbers).index(value) / (len(numbers) - 1)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return None
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return None
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def valid_anchors(winners: Sequence[TrialRecord]) -> float | None:
    """Mean share of the rows of winners' batches that had something to be contrasted with; None where none said it."""
    shares = [
        metrics[VALID_ANCHORS]
        for record in winners
        for metrics in record.epochs.values()
        if VALID_ANCHORS in metrics
    ]
    return fmean(shares) if shares else None


def could_learn(winners: Sequence[TrialRecord]) -> bool:
    """Whether an arm had enough to contrast: with next to none its loss is 0 and its encoder stays untrained."""
    share = valid_anchors(winners)
    return share is None or share >= LEAST_VALID_ANCHORS


def remarks(record: TrialRecord, objective: str, space: SearchSpace) -> dict[str, str | None]:
    """What leaderboard.csv says of a trial beside its value, by column."""
    found = convergence([record], objective, [])
    at_edge = "; ".join(
        f"{edge.parameter} {edge.end}" for edge in edges(space, record.arm, record.parameters)
    )
    return {
        "still_rising": None if found is None else "yes" if found.rising else "no",
        "at_edge": at_edge or None,
    }
