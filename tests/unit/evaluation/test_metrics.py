"""Metrics against scikit-learn to 1e-12, and against plain loops where scikit-learn has no such
definition."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from sdl_study.evaluation import multilabel_metrics
from sdl_study.losses import LabelSets

ZERO: Any = 0  # scikit-learn annotates zero_division as str


def random_case(
    documents: int = 60, labels: int = 9, seed: int = 0, dtype: Any = np.float64
) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    truth = generator.random((documents, labels)) < generator.random(labels) * 0.6
    return generator.random((documents, labels)).astype(dtype), truth


def degenerate_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    scores, truth = random_case()
    no_positive, all_positive, empty_rows = truth.copy(), truth.copy(), truth.copy()
    no_positive[:, [0, 4]] = False
    all_positive[:, 3] = True
    empty_rows[:20] = False
    rare = np.zeros_like(truth)
    rare[7, 2] = True
    return {
        "random": (scores, truth),
        "float32": (scores.astype(np.float32), truth),
        "labels without positive": (scores, no_positive),
        "label without negative": (scores, all_positive),
        "documents without labels": (scores, empty_rows),
        "one positive at all": (scores, rare),
        "nothing predicted": (scores * 0.1, truth),
        "all zero": (np.zeros_like(scores), truth),
        "all one": (np.ones_like(scores), truth),
        "ties": (np.round(scores, 1), truth),
        "two values": ((scores > 0.7).astype(np.float32), truth),
        "one document": (scores[:1], truth[:1]),
        "one label": (scores[:, :1], truth[:, :1]),
    }


def sklearn_values(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    predictions = (scores.astype(np.float64) > threshold).astype(int)
    y = truth.astype(int)
    found: dict[str, float] = {}
    for average in ("micro", "macro"):
        if truth.shape[1] == 1:  # scikit-learn reads one column as a binary problem
            values = sk.precision_recall_fscore_support(
                y[:, 0], predictions[:, 0], average="binary", zero_division=ZERO
            )
        else:
            values = sk.precision_recall_fscore_support(y, predictions, average=average, zero_division=ZERO)
        found |= {
            f"{average}_{name}": float(v)
            for name, v in zip(("precision", "recall", "f1"), values[:3], strict=True)
        }
    both = [j for j in range(truth.shape[1]) if 0 < y[:, j].sum() < len(y)]
    some = [j for j in range(truth.shape[1]) if y[:, j].any()]
    labelled = truth.any(axis=1)
    if 0 < y.sum() < y.size:
        found["micro_auc"] = float(sk.roc_auc_score(y.ravel(), scores.ravel()))
    found["macro_auc"] = (
        float(np.mean([sk.roc_auc_score(y[:, j], scores[:, j]) for j in both])) if both else np.nan
    )
    found["map"] = float(np.mean([sk.average_precision_score(y[:, j], scores[:, j]) for j in some]))
    if truth.shape[1] > 1:
        found["map_document"] = float(sk.label_ranking_average_precision_score(y[labelled], scores[labelled]))
    found["exact_match"] = float((predictions == y).all(axis=1).mean())
    found["hamming_loss"] = float(sk.hamming_loss(y, predictions))
    return found


def loop_values(
    scores: np.ndarray, truth: np.ndarray, threshold: float, ks: tuple[int, ...]
) -> dict[str, float]:
    """CAML's macro-F1 and the rankings of documents, from their formulas, one cell at a time."""
    documents, labels = truth.shape
    precision, recall = [], []
    for j in range(labels):
        hits = sum(truth[i, j] and float(scores[i, j]) > threshold for i in range(documents))
        predicted = sum(float(scores[i, j]) > threshold for i in range(documents))
        positives = int(truth[:, j].sum())
        precision.append(hits / predicted if predicted else 0.0)
        recall.append(hits / positives if positives else 0.0)
    p, r = float(np.mean(precision)), float(np.mean(recall))
    found = {"macro_f1_caml": 2 * p * r / (p + r) if p + r else 0.0}
    at: dict[str, list[float]] = {}
    for i in range(documents):
        order = sorted(range(labels), key=lambda j: (-float(scores[i, j]), j))
        positives = int(truth[i].sum())
        for k in ks:
            hits = sum(bool(truth[i, j]) for j in order[:k])
            at.setdefault(f"precision_at_{k}", []).append(hits / min(k, labels))
            at.setdefault(f"recall_at_{k}", []).append(hits / positives if positives else 0.0)
        if positives:
            at.setdefault("r_precision", []).append(
                sum(bool(truth[i, j]) for j in order[:positives]) / positives
            )
            total = 0.0
            for j in np.flatnonzero(truth[i]):
                not_below = scores[i] >= scores[i, j]
                total += (truth[i] & not_below).sum() / not_below.sum()
            at.setdefault("map_document", []).append(total / positives)
    return found | {key: float(np.mean(values)) for key, values in at.items()}


@pytest.mark.parametrize("name", degenerate_cases())
def test_equals_scikit_learn_and_the_formulas(name: str) -> None:
    scores, truth = degenerate_cases()[name]
    ks = (1, 5, 8, 15)
    ours = multilabel_metrics(scores, truth, threshold=0.4, ks=ks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sklearn_values(scores, truth, 0.4) | loop_values(scores, truth, 0.4, ks)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, err_msg=key, rtol=1e-12, atol=1e-12)
    assert set(ours) == {
        *(f"{a}_{m}" for a in ("micro", "macro") for m in ("precision", "recall", "f1", "auc")),
        *("map", "map_document", "macro_f1_caml", "r_precision", "exact_match", "hamming_loss"),
        *(f"{m}_at_{k}" for m in ("precision", "recall") for k in ks),
        *(f"macro_{m}_present" for m in ("precision", "recall", "f1", "f1_caml")),
    }


def test_8921_labels_equal_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    frequency = np.minimum(0.4, 2.0 / np.arange(1, 8922) ** 0.9)
    truth = generator.random((120, 8921)) < frequency
    scores = np.round(generator.random((120, 8921)) * 0.5 + 0.5 * truth * generator.random(truth.shape), 3)
    ours = multilabel_metrics(
        scores.astype(np.float32), LabelSets.from_multi_hot(torch.from_numpy(truth)), threshold=0.5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sklearn_values(scores.astype(np.float32), truth, 0.5)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, err_msg=key, rtol=1e-12, atol=1e-12)


def caml_at_k(scores: np.ndarray, truth: np.ndarray, k: int) -> tuple[float, float]:
    """CAML's precision and recall at k, document by document: a ranking shorter than k divides by its own
    length, and a recall of 0/0 counts as 0."""
    precision, recall = 0.0, 0.0
    for row, labels in zip(scores, truth, strict=True):
        ranking = [j for _, j in sorted((-float(score), j) for j, score in enumerate(row))][:k]
        hits = sum(1 for j in ranking if labels[j])
        precision += hits / len(ranking)
        recall += hits / int(labels.sum()) if labels.any() else 0.0
    return precision / len(truth), recall / len(truth)


@pytest.mark.parametrize("k", [1, 4, 5, 6, 8, 15])
def test_at_k_is_camls_for_short_rankings_and_unlabelled_documents(k: int) -> None:
    scores, truth = random_case(documents=40, labels=5, seed=3)
    truth[:13] = False
    found = multilabel_metrics(scores, truth, threshold=0.5, ks=(k,))
    expected = caml_at_k(scores, truth, k)
    assert (found[f"precision_at_{k}"], found[f"recall_at_{k}"]) == pytest.approx(expected, abs=1e-12)
    labelled = multilabel_metrics(scores[13:], truth[13:], threshold=0.5, ks=(k,))
    assert found[f"recall_at_{k}"] == pytest.approx(labelled[f"recall_at_{k}"] * 27 / 40)
    assert found["r_precision"] == pytest.approx(labelled["r_precision"])
    if k >= 5:
        assert found[f"precision_at_{k}"] == pytest.approx(truth.mean())
        assert found[f"recall_at_{k}"] == pytest.approx(truth.any(axis=1).mean())


def test_present_universe_is_the_metrics_of_the_labels_that_occur() -> None:
    scores, truth = degenerate_cases()["labels without positive"]
    keep = truth.any(axis=0)
    thresholds = np.linspace(0.2, 0.8, truth.shape[1])
    present = multilabel_metrics(scores, truth, threshold=thresholds, universe="present")
    expected = multilabel_metrics(scores[:, keep], truth[:, keep], threshold=thresholds[keep])
    everything = multilabel_metrics(scores, truth, threshold=thresholds)
    plain = {key for key in expected if not key.endswith("_present")}
    assert set(present) == plain | {f"{key}_present" for key in plain}
    for key in plain:
        assert present[key] == present[f"{key}_present"] == expected[key]
    for key in ("macro_f1", "macro_precision", "macro_recall", "macro_f1_caml"):
        assert everything[f"{key}_present"] == present[f"{key}_present"]
        assert everything[f"{key}_present"] > everything[key]
    assert everything["micro_f1"] != present["micro_f1"]


def test_every_form_of_input_gives_the_same() -> None:
    scores, truth = random_case(dtype=np.float32)
    expected = multilabel_metrics(scores, truth, threshold=0.3)
    sets = LabelSets.from_multi_hot(torch.from_numpy(truth))
    for given_scores, given_labels in [
        (torch.from_numpy(scores), torch.from_numpy(truth).float()),
        (scores, sets),
        (scores, truth.astype(np.int8)),
        (np.asfortranarray(scores), truth),
    ]:
        assert multilabel_metrics(given_scores, given_labels, threshold=0.3) == expected


def test_undefined_is_nan_and_not_zero() -> None:
    found = multilabel_metrics(np.full((3, 2), 0.5), np.zeros((3, 2)), threshold=0.6)
    for key in ("map", "map_document", "macro_auc", "micro_auc", "r_precision", "macro_f1_present"):
        assert np.isnan(found[key]), key
    assert found["exact_match"] == 1.0
    assert found["recall_at_5"] == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "options", "words"),
    [
        (np.array([[1.5]]), np.array([[1]]), {}, "probabilities; found values from 1.5"),
        (np.array([[np.nan]]), np.array([[1]]), {}, "not finite"),
        (np.zeros((0, 3)), np.zeros((0, 3)), {}, "n, L > 0"),
        (np.zeros((2, 3)), np.zeros((2, 4)), {}, r"labels are \(2, 4\), the scores \(2, 3\)"),
        (np.zeros((2, 3)), np.full((2, 3), 2), {}, "0 or 1"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"threshold": np.zeros(2)}, "threshold has shape"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"ks": (0,)}, "at least 1"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"universe": "some"}, "choose from all, present"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"universe": "present"}, "no label has a positive"),
    ],
)
def test_mistakes_are_named(scores: Any, labels: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        multilabel_metrics(scores, labels, **{"threshold": 0.5, **options})
