"""ASHA inside an arm, on epochs, with rungs that are read from the journal at every decision.

Ray's own ASHA keeps its rungs in memory and starts empty after a restore (ray #30838); here nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdl_study.record.trials import TrialRecord


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
    """Whether a trial goes on after an epoch, judged against the other trials of its search."""
    if epoch not in at:
        return True
    others = [
        other.values[epoch] for other in search if other.number != record.number and epoch in other.values
    ]
    return is_promoted(record.values[epoch], others, factor)
