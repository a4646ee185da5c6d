"""ASHA inside an arm, on epochs, with rungs that are read from the journal at every decision.

Ray's own ASHA keeps its rungs in memory and starts empty after a restore (ray #30838); here nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sdl_study.config import Settings
from sdl_study.record.trials import LENGTH, TrialRecord
from sdl_study.space import SearchSpace
from sdl_study.study.checks import possible_values

LEAST_STEPS = 200


def first_rung(settings: Settings, space: SearchSpace, rows: int) -> int:
    """Epoch of the first rung: that of the budget or, with "auto", the first one that can tell how good a trial is.

    It lies behind the warm-up and ``LEAST_STEPS`` updates of the trial with the largest batch and the longest warm-up
    that the space can give, or at half of the training where that comes first.

    Args:
        settings, space: of the study.
        rows: of train.
    """
    given, epochs = settings.budget.first_rung, longest(settings, space)
    if given != "auto":
        return given
    batch = int(largest(settings, space, "train.batch_size"))
    train = settings.train.model_copy(update={"batch_size": batch})
    per_epoch = train.passes(rows) * math.ceil(rows / batch)
    warmup = round(largest(settings, space, "train.warmup_fraction") * epochs * per_epoch)
    enough = math.ceil(max(LEAST_STEPS, warmup + 1) / per_epoch)
    half = max(math.ceil(epochs / 2), math.ceil((warmup + 1) / per_epoch))
    return min(enough, half)


def longest(settings: Settings, space: SearchSpace) -> int:
    """Epochs of the longest training that the space can give."""
    return int(largest(settings, space, LENGTH))


def largest(settings: Settings, space: SearchSpace, name: str) -> float:
    """The largest value that a number among the settings can have in a trial."""
    return max(possible_values(space, settings, name))


def rungs(epochs: int, first: int, reduction_factor: int) -> tuple[int, ...]:
    """Epochs at which a trial may be stopped: first, first·r, first·r², … below the last epoch."""
    found = []
    rung = first
    while rung < epochs:
        found.append(rung)
        rung *= reduction_factor
    return tuple(found)


def is_promoted(value: float, others: Sequence[float], reduction_factor: int) -> bool:
    """Whether a value is in the top 1/r of what reached this rung before it (Li et al. 2020, ASHA).

    The first at a rung goes on.
    """
    if not others:
        return True
    return value >= float(np.quantile(np.asarray(others), 1.0 - 1.0 / reduction_factor))


def goes_on(
    record: TrialRecord, epoch: int, search: Sequence[TrialRecord], at: Sequence[int], factor: int
) -> bool:
    """Whether a trial goes on after an epoch, judged against the other trials of its search that are as long.

    At the same epoch a shorter training is ahead: its learning rate has fallen further.
    """
    if epoch not in at:
        return True
    others = [
        other.values[epoch]
        for other in search
        if other.number != record.number
        and epoch in other.values
        and other.parameters.get(LENGTH) == record.parameters.get(LENGTH)
    ]
    return is_promoted(record.values[epoch], others, factor)
