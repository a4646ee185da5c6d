"""Holm's correction of the secondary contrasts, in their p-values, intervals and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sdl_study.evaluation.verdict.comparison import Comparison, word
from sdl_study.evaluation.verdict.intervals import Interval, interval_from_variances


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: reject where they are below the level, and the family's error is
    held."""
    return [min(1.0, factor * p) for factor, p in zip(_holm_factors(p_values), p_values, strict=True)]


def _holm_factors(p_values: Sequence[float]) -> list[float]:
    """What Holm's correction multiplies each p-value by, before it is cut off at 1."""
    count = len(p_values)
    factors = [1.0] * count
    largest = 0.0
    for place, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, (count - place) * p_values[index])
        factors[index] = largest / p_values[index] if p_values[index] > 0 else float(count - place)
    return factors


def correct_secondary(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The secondary contrasts with Holm's correction over all of them; words and intervals follow from it.

    The correction multiplies a p-value by a factor; interval and detectable difference are taken at the level
    divided by the same factor, so that the interval leaves out 0 exactly where the word is better or worse.
    They belong to the contrast's own test: a step-down procedure has no simultaneous intervals.
    """
    known = [c.interval.p_value for c in comparisons if c.interval is not None]
    factors = iter(_holm_factors(known))
    return [c if c.interval is None else _corrected(c, c.interval, next(factors)) for c in comparisons]


def _corrected(comparison: Comparison, interval: Interval, factor: float) -> Comparison:
    at_level = interval_from_variances(
        interval.difference,
        interval.seed_variance,
        interval.patient_variance,
        seeds=comparison.pairs,
        groups=comparison.groups,
        confidence=1 - (1 - comparison.confidence) / factor,
    )
    adjusted = min(1.0, factor * interval.p_value)
    corrected = replace(comparison, interval=at_level, adjusted_p=adjusted, holm=factor)
    return replace(corrected, word=word(corrected))
