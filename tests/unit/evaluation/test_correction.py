"""Holm's correction: p-values, intervals and words of the secondary contrasts agree."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation.predictions import Predictions
from sdl_study.evaluation.verdict import Comparison, compare, correct_secondary, holm
from tests.benchmarks.verdict import null_predictions


def finals(effect: float = 0.0, seed: int = 0) -> tuple[list[Predictions], list[Predictions]]:
    return null_predictions(3, 0.1, np.random.default_rng(seed), effect=effect)


def test_holm_against_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def family(seed: int) -> list[Comparison]:
    """Contrasts of three arms of different strength with one other."""
    effects = (0.0, 0.35, 0.6)
    pairs = [
        null_predictions(3, 0.05, np.random.default_rng([seed, place]), effect=effect)
        for place, effect in enumerate(effects)
    ]
    return [compare(*finals, replicates=60) for finals in pairs]


def test_words_intervals_and_detectable_differences_agree_after_holm() -> None:
    """A family in which the correction takes words back; each line must hold in itself."""
    plain = [contrast for seed in range(12) for contrast in family(seed)]
    changed = 0
    for start in range(0, len(plain), 6):
        before = plain[start : start + 6]
        after = correct_secondary(before)
        known = [c.interval.p_value for c in before if c.interval is not None]
        assert [c.adjusted_p for c in after] == pytest.approx(holm(known))
        for old, new in zip(before, after, strict=True):
            assert old.interval is not None
            assert new.interval is not None
            found = new.word != "not distinguishable"
            assert found == (new.adjusted_p is not None and new.adjusted_p < 0.05)
            assert found == (new.interval.low > 0 or new.interval.high < 0)
            assert found or abs(new.difference) < new.interval.detectable
            assert new.interval.p_value == pytest.approx(old.interval.p_value)
            assert new.interval.high >= old.interval.high
            assert (new.holm > 1) == (new.interval.confidence > 0.95)
            changed += old.word != new.word
    assert changed


def test_holm_takes_the_level_of_the_place() -> None:
    base = compare(*finals(effect=1.0), replicates=100)
    assert base.interval is not None
    first, *others = correct_secondary([base, compare(*finals(seed=3), replicates=100)])
    assert first.interval is not None
    assert first.holm == 2.0
    assert first.interval.confidence == pytest.approx(0.975)
    assert (first.interval.high - first.difference) > (base.interval.high - base.difference)
    assert first.word == "better"
    assert others[0].holm == 1.0
    (alone,) = correct_secondary([base])
    assert alone == base
