"""Intervals of paired differences, against Student's, against known variances and on simulated null studies."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sdl_study.evaluation.verdict import UndefinedMetricError, group_weights, paired_interval
from tests.benchmarks.verdict import FEW, FEW_MIXTURES, MIXTURES, mean_rates
from tests.benchmarks.verdict_grid import MEANS, cell, mean_interval


def test_with_seeds_alone_it_is_students_t() -> None:
    differences = np.array([0.1, 0.3, 0.2, 0.25])
    interval = paired_interval(differences, np.tile(differences, (5, 1)), groups=50)
    expected: Any = stats.ttest_1samp(differences, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9)
    assert interval.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert interval.degrees_of_freedom == pytest.approx(3)


def test_with_patients_alone_it_is_the_bootstraps_normal() -> None:
    generator = np.random.default_rng(0)
    patients = generator.normal(0.1, 1.0, 400)
    weights, groups = group_weights(np.arange(400), 4000, 0)
    means = (weights @ patients / 400)[:, None]
    interval = paired_interval(np.full(3, patients.mean()), np.repeat(means, 3, axis=1), groups)
    expected: Any = stats.ttest_1samp(patients, 0.0)
    assert interval.p_value == pytest.approx(expected.pvalue, rel=0.15)
    assert interval.high - interval.low == pytest.approx(np.ptp(expected.confidence_interval()), rel=0.05)
    assert interval.seed_variance == 0.0


def test_the_seed_part_is_not_counted_twice() -> None:
    """Pure noise of every patient at every seed: the variance of the mean is known."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(200):
        values = generator.normal(size=(4, 300))
        weights, groups = group_weights(np.arange(300), 100, int(generator.integers(1 << 30)))
        interval = paired_interval(values.mean(axis=1), weights @ values.T / 300, groups)
        found.append(interval.standard_error**2)
    assert np.mean(found) == pytest.approx(1 / 1200, rel=0.15)


def test_p_value_and_interval_agree() -> None:
    generator = np.random.default_rng(2)
    for method in ("cochran-cox", "satterthwaite"):
        for _ in range(20):
            centre = generator.normal(0.0, 0.3)
            differences = centre + generator.normal(0.0, 0.2, 3)
            replicates = (
                differences + generator.normal(0.0, 0.1, (50, 1)) + generator.normal(0.0, 0.05, (50, 3))
            )
            plain = paired_interval(differences, replicates, 100, method=method)
            touching = paired_interval(differences, replicates, 100, 1 - plain.p_value, method)
            assert min(abs(touching.low), abs(touching.high)) < 1e-6
            assert plain.low < plain.difference < plain.high
            assert plain.detectable > plain.high - plain.difference


def test_groups_are_drawn_whole() -> None:
    groups = np.array([5, 5, 9, 2, 9, 5])
    weights, count = group_weights(groups, 500, 0)
    assert count == 3
    for name in (2, 5, 9):
        assert (weights[:, groups == name] == weights[:, groups == name][:, :1]).all()
    per_group = np.stack([weights[:, 0], weights[:, 2], weights[:, 3]], axis=1)
    assert (per_group.sum(axis=1) == 3).all()
    assert per_group.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


@pytest.mark.parametrize("groups", [2, 3, 10])
def test_few_groups_have_the_unbiased_variance_of_their_mean(groups: int) -> None:
    """A bootstrap of G values finds (G - 1)/G of it."""
    values = np.random.default_rng(groups).normal(size=groups)
    weights, _ = group_weights(np.arange(groups), 20_000, 0)
    means = np.repeat((weights @ values / groups)[:, None], 3, axis=1)
    interval = paired_interval(np.full(3, values.mean()), means, groups)
    assert interval.patient_variance == pytest.approx(values.var(ddof=1) / groups, rel=0.05)


def test_rounding_is_no_variation() -> None:
    differences = np.array([0.1 + 0.2, 0.3, 0.3])
    replicates = differences + np.spacing(0.3) * np.random.default_rng(0).integers(-1, 2, (50, 3))
    assert differences.var() > 0
    with pytest.raises(UndefinedMetricError, match="neither seeds nor patients vary"):
        paired_interval(differences, replicates, 40)
    same = paired_interval(differences - 0.3, replicates - 0.3, 40)
    assert (same.p_value, same.detectable) == (1.0, 0.0)


def test_null_studies_are_wrong_about_as_often_as_they_say() -> None:
    rates = mean_rates(3, MIXTURES["seeds almost alone"], studies=300, replicates=100)
    assert rates["cochran-cox"] < 0.09
    assert rates["percentile"] > 0.12


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("name", MIXTURES)
def test_means_hold_their_level(name: str, seeds: int) -> None:
    rates = mean_rates(seeds, MIXTURES[name], studies=2000)
    assert rates["cochran-cox"] < 0.07, rates  # 5% and four standard errors of 2,000 studies


@pytest.mark.slow
@pytest.mark.parametrize("patients", FEW)
@pytest.mark.parametrize("name", FEW_MIXTURES)
def test_means_of_few_patients_hold_their_level(name: str, patients: int) -> None:
    rates = mean_rates(3, FEW_MIXTURES[name], studies=2000, patients=patients)
    assert rates["cochran-cox"] < 0.07, rates


@pytest.mark.parametrize(("name", "seeds"), [("seeds alone", 3), ("seeds above", 5)])
def test_what_a_study_could_have_found_it_finds_four_times_in_five(name: str, seeds: int) -> None:
    """The short form of ``verdict_grid``: within what 200 studies tell of 80%."""
    found = cell(partial(mean_interval, seeds, MIXTURES[MEANS[name]]), studies=200, seed=seeds)
    assert 0.72 <= found.power <= 0.88
    assert 0.93 <= found.coverage <= 0.985
