"""Which strength of a regularisation to try next, and which is the best: for the probe and the controls alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

# Beyond these a fit is as good as unregularised, or knows the frequencies alone.
WEAKEST, STRONGEST = 1e-6, 1e3
_LEAST_RATIO = 2.0
T = TypeVar("T")


def best_strength(losses: Mapping[float, float]) -> float:
    """The strength with the smallest loss, the stronger one on a tie."""
    return min(losses, key=lambda value: (losses[value], -value))


def next_strength(losses: Mapping[float, float]) -> float | None:
    """The strength to try after these, where the best stands at an end: on by the ratio of the last two there, or
    twice, where they lie closer together.

    Args:
        losses: strength → loss, of two strengths at least.

    Returns:
        None where the best lies inside, or the next one would lie beyond ``WEAKEST`` or ``STRONGEST``.
    """
    best, strengths = best_strength(losses), sorted(losses)
    if best == strengths[-1]:
        value = best * max(best / strengths[-2], _LEAST_RATIO)
    elif best == strengths[0]:
        value = best / max(strengths[1] / best, _LEAST_RATIO)
    else:
        return None
    return value if WEAKEST <= value <= STRONGEST else None


def best_of(fit: Callable[[float], tuple[float, T]], grid: Sequence[float], grow: bool) -> T:
    """What the best strength gives.

    Args:
        fit: strength → loss, and what is kept of the fit.
        grid: strengths to try.
        grow: whether the grid goes on where its end is the best; not from a single one.
    """
    losses: dict[float, float] = {}
    kept: list[T] = []

    def attempt(strength: float) -> None:
        losses[strength], found = fit(strength)
        if best_strength(losses) == strength:
            kept[:] = [found]

    for strength in grid:
        attempt(strength)
    while grow and len(losses) > 1 and (strength := next_strength(losses)) is not None:
        attempt(strength)
    return kept[0]
