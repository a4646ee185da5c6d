"""Tables by label and band, and COCO's names, against the metrics and against loops."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.tables import band_table, coco_metrics, per_label_table


def case() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    truth = generator.random((70, 8)) < np.linspace(0.5, 0.02, 8)
    truth[:, 7] = False
    return np.clip(0.3 * truth + 0.7 * generator.random((70, 8)), 0, 1), truth


def test_column_means_are_the_macro_averages() -> None:
    scores, truth = case()
    table = per_label_table(scores, truth, threshold=0.5)
    metrics = multilabel_metrics(scores, truth, threshold=0.5)
    for column, key in [
        ("precision", "macro_precision"), ("recall", "macro_recall"), ("f1", "macro_f1"),
        ("auc", "macro_auc"), ("average_precision", "map"),
    ]:  # fmt: skip
        assert table[column].mean() == pytest.approx(metrics[key], abs=1e-12)
    assert table["positives"].to_list() == truth.sum(axis=0).tolist()
    assert table["auc"].null_count() == 1
    assert table["index"].to_list() == list(range(8))


def test_bands_are_the_metrics_of_their_labels() -> None:
    scores, truth = case()
    bands = ["tail", "head", "head", "medium", "tail", "tail", "head", "medium"]
    found = band_table(per_label_table(scores, truth, threshold=0.5), bands)
    assert found["band"].to_list() == ["head", "medium", "tail"]
    for row in found.iter_rows(named=True):
        own = [j for j, band in enumerate(bands) if band == row["band"]]
        expected = multilabel_metrics(scores[:, own], truth[:, own], threshold=0.5)
        assert row["labels"] == len(own)
        assert row["labels_present"] == truth[:, own].any(axis=0).sum()
        for key in ("micro_f1", "macro_f1", "macro_f1_present", "macro_auc", "map"):
            assert row[key] == pytest.approx(expected[key], abs=1e-12)
    with pytest.raises(ValueError, match="3 bands for 8 labels"):
        band_table(per_label_table(scores, truth, threshold=0.5), bands[:3])


def test_a_band_without_positives_has_no_map() -> None:
    scores, truth = case()
    found = band_table(per_label_table(scores, truth, threshold=0.5), ["head"] * 7 + ["tail"])
    assert found["map"].to_list()[1] is None
    assert found["macro_f1"].to_list()[1] == 0.0


def coco_by_loops(
    scores: np.ndarray, truth: np.ndarray, predictions: np.ndarray, suffix: str
) -> dict[str, float]:
    """The formulas of the COCO papers, with counts per label: correct, predicted, ground truth."""
    correct = [
        sum(predictions[i, j] and truth[i, j] for i in range(len(truth))) for j in range(truth.shape[1])
    ]
    predicted, actual = predictions.sum(axis=0), truth.sum(axis=0)
    op, ore = sum(correct) / predicted.sum(), sum(correct) / actual.sum()
    cp = np.mean([c / p if p else 0.0 for c, p in zip(correct, predicted, strict=True)])
    cr = np.mean([c / g if g else 0.0 for c, g in zip(correct, actual, strict=True)])
    values = {
        "OP": op,
        "OR": ore,
        "OF1": 2 * op * ore / (op + ore),
        "CP": cp,
        "CR": cr,
        "CF1": 2 * cp * cr / (cp + cr),
    }
    return {key + suffix: float(value) for key, value in values.items()}


def test_coco_names_are_the_papers_formulas() -> None:
    scores, truth = case()
    found = coco_metrics(scores, truth, threshold=0.4)
    predictions = scores > 0.4
    top = np.zeros_like(predictions)
    for i, row in enumerate(scores):
        for j in sorted(range(8), key=lambda j: (-row[j], j))[:3]:
            top[i, j] = True
    expected = coco_by_loops(scores, truth, predictions, "") | coco_by_loops(
        scores, truth, predictions & top, "_top3"
    )
    metrics = multilabel_metrics(scores, truth, threshold=0.4)
    expected["mAP"] = metrics["map"]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found["CF1"] == pytest.approx(metrics["macro_f1_caml"], abs=1e-12)
    assert found["OF1"] == pytest.approx(metrics["micro_f1"], abs=1e-12)
    assert found["OP_top3"] > found["OP"]
