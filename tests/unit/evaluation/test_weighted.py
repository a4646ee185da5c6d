"""Metrics with document weights: weight two is the document twice, weight zero is without it."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation import multilabel_metrics, weighted
from sdl_study.evaluation.targets import as_targets
from sdl_study.evaluation.weighted import weighted_metric

NAMES = sorted(multilabel_metrics(np.eye(3), np.eye(3), threshold=0.5, ks=(1, 2)))


def case(decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    truth = generator.random((40, 6)) < [[0.4, 0.3, 0.2, 0.1, 0.05, 0.0]]
    truth[:5] = False
    scores = np.clip(0.25 * truth + 0.75 * generator.random(truth.shape), 0, 1)
    return (scores if decimals is None else np.round(scores, decimals)), truth


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_repeated_documents(name: str, decimals: int | None) -> None:
    scores, truth = case(decimals)
    weights = np.random.default_rng(1).poisson(1.0, (5, len(scores)))
    weights[0] = 1
    metric = weighted_metric(name, scores, as_targets(truth, scores.shape), 0.45)
    found = metric(weights.astype(np.float64))
    for row, value in zip(weights, found, strict=True):
        repeated = np.repeat(np.arange(len(scores)), row)
        expected = multilabel_metrics(scores[repeated], truth[repeated], threshold=0.45, ks=(1, 2))[name]
        # Of equal scores the lower label ranks first, whatever the document's weight, so ties agree as well.
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_replicates_without_a_positive_are_undefined_where_the_metric_is(name: str) -> None:
    scores, truth = case(None)
    metric = weighted_metric(name, scores, as_targets(truth, scores.shape), 0.45)
    unlabelled = np.flatnonzero(~truth.any(axis=1))
    weights = np.bincount(unlabelled, minlength=len(truth)).astype(np.float64)
    found = multilabel_metrics(scores[unlabelled], truth[unlabelled], threshold=0.45, ks=(1, 2))[name]
    np.testing.assert_equal(metric(weights[None])[0], found)


@pytest.mark.parametrize("name", ["map", "macro_auc"])
def test_frequent_and_rare_labels_take_different_ways_to_the_same_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, truth = case(1)
    weights = np.random.default_rng(2).poisson(1.0, (7, len(scores))).astype(np.float64)
    found = []
    for many in (1, 4, 1000):
        monkeypatch.setattr(weighted, "_MANY_POSITIVES", many)
        monkeypatch.setattr(weighted, "_CHUNK_POSITIVES", many)
        found.append(weighted_metric(name, scores, as_targets(truth, scores.shape), 0.5)(weights))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-14)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-14)


def test_unknown_metrics_are_refused() -> None:
    for name in ("accuracy", "micro_f1_caml", "micro_f1_present", "precision_at_0", "macro_"):
        with pytest.raises(ValueError, match="unknown metric"):
            weighted_metric(name, np.eye(3), as_targets(np.eye(3), (3, 3)), 0.5)
