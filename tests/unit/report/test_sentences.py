"""Verdicts in one line, from comparisons made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sdl_study.evaluation.verdict import Comparison, Interval
from sdl_study.report.sentences import verdict_sentence

INTERVAL = Interval(0.0312, 0.008, 12.0, 0.95, 0.0137, 0.0487, 0.002, 4e-5, 2.4e-5, 0.0251)
BETTER = Comparison(
    first="sd", second="any", metric="map", stage="probe", seeds=(0, 1, 2), values=((0.5, 0.4),) * 3,
    difference=0.0312, interval=INTERVAL, groups=300, confidence=0.95, adjusted_p=0.002, word="better",
)  # fmt: skip
HEAD = "the setting chosen for sd against the setting chosen for any, map (probe)"
DETECTABLE = "this study could have found a difference of 0.0251"
CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, " [+0.0137, +0.0487], 3 seeds, 300 groups: better"),
    (
        {"word": "not distinguishable"},
        {"low": -0.0012},
        f" [-0.0012, +0.0487], 3 seeds, 300 groups: not distinguishable ({DETECTABLE})",
    ),
    (
        {"word": "not distinguishable"},
        {"standard_error": 0.0, "low": 0.0312, "high": 0.0312},
        " [+0.0312, +0.0312], 3 seeds, 300 groups: not distinguishable (no seed and no group shows a difference)",
    ),
    (
        {"holm": 2.0},
        {"confidence": 0.975},
        " [+0.0137, +0.0487] (97.5% after Holm), 3 seeds, 300 groups: better",
    ),
]


@pytest.mark.parametrize(("changed", "of_interval", "words"), CASES)
def test_the_sentence_says_what_was_compared_and_found(
    changed: dict[str, Any], of_interval: dict[str, Any], words: str
) -> None:
    comparison = replace(BETTER, interval=replace(INTERVAL, **of_interval), **changed)
    assert verdict_sentence(comparison) == f"{HEAD}: +0.0312{words}"


def test_one_seed_has_no_interval() -> None:
    alone = replace(BETTER, interval=None, adjusted_p=None, word="1 seed: no claim")
    assert verdict_sentence(alone) == f"{HEAD}: +0.0312; 1 seed: no claim"


def test_a_narrow_interval_is_printed_with_the_decimals_it_needs() -> None:
    interval = replace(INTERVAL, standard_error=1.3e-6, low=1.5e-6, high=6.9e-6)
    narrow = replace(BETTER, difference=4.2e-6, interval=interval)
    assert ": +0.0000042 [+0.0000015, +0.0000069], 3 seeds" in verdict_sentence(narrow)
