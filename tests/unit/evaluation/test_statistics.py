"""The verdict: its interval against hand-made and simulated cases, its words, and what it refuses to
compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.statistics import (
    Comparison,
    compare,
    correct_secondary,
    group_weights,
    holm,
    paired_interval,
)
from tests.benchmarks.verdict import MIXTURES, mean_rates, null_predictions, prediction_rate


def pair(seeds: int = 3, effect: float = 0.0, seed: int = 0):  # noqa: ANN201
    return null_predictions(seeds, 0.1, np.random.default_rng(seed), effect=effect)


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


def test_repeated_documents_of_a_patient_do_not_sharpen_the_verdict() -> None:
    def tripled(finals):  # noqa: ANN001, ANN202
        rows = np.tile(np.arange(300), 3)
        return [
            replace(
                final,
                ids=np.arange(900),
                groups=final.groups[rows],
                scores=final.scores[rows],
                targets=replace(
                    final.targets,
                    rows=np.concatenate([final.targets.rows + 300 * copy for copy in range(3)]),
                    columns=np.tile(final.targets.columns, 3),
                    shape=(900, final.targets.shape[1]),
                ),
            )
            for final in finals
        ]

    first, second = pair()
    once = compare(first, second, metric="map_document", replicates=200).interval
    thrice = compare(tripled(first), tripled(second), metric="map_document", replicates=200).interval
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-9)


def test_compare_gives_the_metrics_and_the_right_word() -> None:
    first, second = pair(effect=1.0)
    better = compare(first, list(reversed(second)), replicates=200)
    for final, (value, _) in zip(first, better.values, strict=True):
        expected = multilabel_metrics(final.scores, final.targets, threshold=final.threshold)["map"]
        assert value == pytest.approx(expected, abs=1e-12)
    assert better.difference == pytest.approx(np.mean([a - b for a, b in better.values]))
    assert better.word == "better"
    assert better.seeds == (0, 1, 2)
    worse = compare(second, first, replicates=200)
    assert worse.word == "worse"
    assert worse.difference == -better.difference
    losses = compare(first, second, metric="hamming_loss", replicates=200)
    assert losses.difference < 0
    assert losses.word == "better"
    assert "better" in better.sentence()


def test_no_difference_is_said_with_what_could_have_been_found() -> None:
    same = compare(*pair(seed=3), replicates=200)
    assert same.word == "not distinguishable"
    assert same.interval is not None
    assert f"could have found a difference of {same.interval.detectable:.4f}" in same.sentence()
    first, _ = pair()
    itself = compare(
        first, [replace(f, identity=replace(f.identity, arm="twin")) for f in first], replicates=50
    )
    assert itself.word == "not distinguishable"
    assert itself.interval is not None
    assert itself.interval.p_value == 1.0


def test_one_seed_makes_no_claim() -> None:
    first, second = pair(seeds=1, effect=3.0)
    found = compare(first, second)
    assert found.word == "1 seed: no claim"
    assert found.interval is None
    assert found.difference > 0.1
    assert "1 seed: no claim" in found.sentence()
    assert correct_secondary([found]) == [found]


def test_the_same_call_gives_the_same_verdict() -> None:
    first, second = pair()
    assert compare(first, second, replicates=100) == compare(first, second, replicates=100)
    assert compare(first, second, replicates=100) != compare(first, second, replicates=100, seed=1)


def test_what_cannot_be_paired_is_refused() -> None:
    first, second = pair()
    for changed, words in [
        (second[:2], r"seeds \[0, 1, 2\] cannot be paired with \[0, 1\]"),
        ([*second, second[0]], "same seed"),
        ([replace(second[0], declaration="e"), *second[1:]], "differ in declaration"),
        ([replace(second[0], fingerprint="e"), *second[1:]], "differ in data"),
        ([replace(second[0], ids=second[0].ids + 1), *second[1:]], "differ in test inputs"),
        ([replace(f, identity=replace(f.identity, stage="finetune")) for f in second], "differ in stage"),
        ([*second[:2], replace(second[2], identity=replace(second[2].identity, arm="any"))], "differ in arm"),
    ]:
        with pytest.raises(ValueError, match=words):
            compare(first, changed)
    with pytest.raises(ValueError, match="unknown metric"):
        compare(first, second, metric="accuracy")
    with pytest.raises(ValueError, match="two seeds"):
        paired_interval(np.zeros(1), np.zeros((5, 1)), 10)
    with pytest.raises(ValueError, match="undefined"):
        paired_interval(np.zeros(2), np.full((5, 2), np.nan), 10)


def test_holm_against_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_secondary_words_follow_the_corrected_p_value() -> None:
    base = compare(*pair(effect=1.0), replicates=100)
    assert base.interval is not None

    def with_p(value: float) -> Comparison:
        assert base.interval is not None
        return replace(base, interval=replace(base.interval, p_value=value), adjusted_p=value)

    corrected = correct_secondary([with_p(0.04), with_p(0.001), with_p(0.03)])
    assert [c.adjusted_p for c in corrected] == pytest.approx([0.06, 0.003, 0.06])
    assert [c.word for c in corrected] == ["not distinguishable", "better", "not distinguishable"]


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
@pytest.mark.parametrize("seed_sd", [0.02, 0.3])
@pytest.mark.parametrize("metric", ["map", "macro_f1"])
def test_metrics_that_are_no_means_hold_their_level(metric: str, seed_sd: float) -> None:
    assert prediction_rate(metric, 3, seed_sd, studies=400) < 0.083  # 5% and three standard errors
