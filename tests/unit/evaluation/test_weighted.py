"""Metrics with document weights: weight two is the document twice, weight zero is without it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.metrics import weighted_cells, weighted_labels, weighted_metric
from sdl_study.evaluation.targets import as_targets

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
def test_labels_in_any_number_of_pieces_have_the_same_value(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, truth = case(1)
    weights = np.random.default_rng(2).poisson(1.0, (7, len(scores))).astype(np.float64)
    found = []
    for labels, replicates in ((1, 1), (2, 3), (1000, 1000)):
        monkeypatch.setattr(weighted_labels, "_LABELS_OF_PIECE", labels)
        monkeypatch.setattr(weighted_labels, "_REPLICATES_AT_ONCE", replicates)
        found.append(weighted_metric(name, scores, as_targets(truth, scores.shape), 0.5)(weights))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-14)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-14)


@pytest.mark.parametrize("name", ["map", "macro_auc"])
def test_counts_may_be_larger_than_half_of_32_bits(name: str) -> None:
    scores, truth = case(1)
    weights = np.random.default_rng(2).poisson(1.0, (3, len(scores))).astype(np.float64)
    metric = weighted_metric(name, scores, as_targets(truth, scores.shape), 0.5)
    assert (5_000 * weights).sum(axis=1).min() > 1 << 16
    np.testing.assert_allclose(metric(5_000 * weights), metric(weights), rtol=1e-14)


def test_ranks_within_labels_are_weighed_by_counts() -> None:
    scores, truth = case(None)
    metric = weighted_metric("map", scores, as_targets(truth, scores.shape), 0.5)
    for weights in (np.full((1, len(scores)), 0.5), np.full((1, len(scores)), -1.0)):
        with pytest.raises(ValueError, match="weighed by counts of documents"):
            metric(weights)


def naive_flat_auc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Every positive cell against every negative one, ties half, each pair with both documents' weights."""
    cell_weights = np.repeat(weights, scores.shape[1]).reshape(scores.shape)
    own, other = scores[truth][:, None], scores[~truth][None, :]
    won = (own > other) + 0.5 * (own == other)
    pairs = cell_weights[truth][:, None] * cell_weights[~truth][None, :]
    return float((won * pairs).sum() / pairs.sum())


def flat_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    scores, truth = case(None)
    everywhere = truth.copy()
    everywhere[:3] = True
    return {
        "random": (scores, truth),
        "float32": (scores.astype(np.float32), truth),
        "ties": (np.round(scores, 1), truth),
        "one value": (np.full_like(scores, 0.25), truth),
        "zeros and ones": ((scores > 0.6).astype(np.float32), truth),
        "negatives above all positives": (np.where(truth, 0.3 * scores, scores), truth),
        "documents of positives alone": (np.round(scores, 2), everywhere),
    }


@pytest.mark.parametrize("cells", [1 << 22, 40, 1])
@pytest.mark.parametrize("name", flat_cases())
def test_micro_auc_of_replicates_is_that_of_all_pairs_and_of_scikit_learn(
    name: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in pieces: few documents, few segments and few replicates at a time."""
    monkeypatch.setattr(weighted_cells, "_SEGMENT_CELLS", cells)
    scores, truth = flat_cases()[name]
    weights = np.random.default_rng(3).poisson(1.0, (5, len(scores))).astype(np.float64)
    found = weighted_metric("micro_auc", scores, as_targets(truth, scores.shape), 0.5)(weights)
    for row, value in zip(weights, found, strict=True):
        repeated = np.repeat(np.arange(len(scores)), row.astype(int))
        assert value == pytest.approx(naive_flat_auc(scores, truth, row), abs=1e-14)
        theirs = roc_auc_score(truth[repeated].ravel(), scores[repeated].ravel())
        assert value == pytest.approx(float(theirs), abs=1e-12)
    uneven = np.random.default_rng(4).random((1, len(scores)))
    value = weighted_metric("micro_auc", scores, as_targets(truth, scores.shape), 0.5)(uneven)[0]
    assert value == pytest.approx(naive_flat_auc(scores, truth, uneven[0]), abs=1e-12)


def test_micro_auc_keeps_segments_and_not_cells() -> None:
    """A replicate must not cost a sum over all cells: few levels merge a document's negatives."""
    generator = np.random.default_rng(5)
    scores = generator.random((50, 400)).astype(np.float32)
    truth = np.zeros(scores.shape, dtype=bool)
    truth[:, 0] = True
    levels = np.unique(scores[:, 0])
    blocks = list(weighted_cells._negatives_by_segment(scores, as_targets(truth, scores.shape), levels[::10]))
    assert sum(block.nnz for block in blocks) <= 50 * len(levels[::10])
    assert sum(block.sum() for block in blocks) == (scores[:, 1:] < levels[::10].max()).sum()
