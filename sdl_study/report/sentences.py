"""What a study found, in sentences."""

from __future__ import annotations

from math import floor, log10

from sdl_study.evaluation.verdict import Comparison


def verdict_sentence(comparison: Comparison) -> str:
    """A contrast and its verdict in one line."""
    interval = comparison.interval
    # Where the interval is narrow, four decimals would print a difference that was found as 0.
    error = interval.standard_error if interval is not None else 0.0
    digits = max(4, 1 - floor(log10(error))) if error > 0 else 4
    difference = f"{comparison.difference:+.{digits}f}"
    head = f"{comparison.first} against {comparison.second}, {comparison.metric} ({comparison.stage}): {difference}"
    if interval is None:
        return f"{head}; {comparison.word}"
    level = f" ({interval.confidence:.1%} after Holm)" if comparison.holm > 1 else ""
    ends = f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]{level}"
    found = f"{head} {ends}, {len(comparison.seeds)} seeds, {comparison.groups} groups: {comparison.word}"
    if comparison.word != "not distinguishable":
        return found
    if error == 0:
        return f"{found} (no seed and no group shows a difference)"
    return f"{found} (this study could have found a difference of {interval.detectable:.{digits}f})"
