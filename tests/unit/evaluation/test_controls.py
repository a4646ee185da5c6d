"""Controls without an encoder: what they learn, and that test texts teach them nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.controls import label_prior, tfidf_logistic_regression
from sdl_study.losses import LabelSets

WORDS = ["fever", "cough", "rash", "fracture"]


def notes(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """A label is in the text with its word, among words that mean nothing."""
    generator = np.random.default_rng(seed)
    truth = generator.random((count, len(WORDS))) < np.array([0.5, 0.3, 0.2, 0.1])
    fill = [f"w{number}" for number in range(30)]
    texts = [
        " ".join([*generator.choice(fill, 8), *(word for word, has in zip(WORDS, row, strict=True) if has)])
        for row in truth
    ]
    return texts, truth


def test_the_prior_is_the_label_frequency_for_everyone() -> None:
    train, dev = LabelSets.from_lists([[0], [0, 1], [], [0]], 3), LabelSets.from_lists([[0], [0]], 3)
    control = label_prior(train, dev, test_count=5)
    np.testing.assert_array_equal(
        control.test, np.tile(np.array([0.75, 0.25, 0.0], dtype=np.float32), (5, 1))
    )
    np.testing.assert_array_equal(control.dev, control.test[:2])
    assert 0.25 <= control.threshold < 0.75
    with pytest.raises(ValueError, match="labels are"):
        label_prior(train, LabelSets.from_lists([[0]], 4), test_count=1)


def test_a_bag_of_words_finds_words_and_chooses_on_dev() -> None:
    (train, train_truth), (dev, dev_truth), (test, test_truth) = (
        notes(n, s) for n, s in ((300, 0), (80, 1), (80, 2))
    )
    control = tfidf_logistic_regression((train, dev, test), train_truth, dev_truth, c_grid=(1e-3, 10.0))
    assert control.chosen["C"] == 10.0
    found = multilabel_metrics(control.dev, dev_truth, threshold=control.threshold)
    assert control.chosen["dev/map"] == found["map"]
    assert multilabel_metrics(control.test, test_truth, threshold=control.threshold)["map"] > 0.95
    assert control.test.dtype == np.float32

    other_test = tfidf_logistic_regression(
        (train, dev, test[:1]), train_truth, dev_truth, c_grid=(1e-3, 10.0)
    )
    np.testing.assert_array_equal(other_test.dev, control.dev)
    np.testing.assert_array_equal(other_test.test[0], control.test[0])
    threads = tfidf_logistic_regression(
        (train, dev, test), train_truth, dev_truth, c_grid=(1e-3, 10.0), workers=2
    )
    np.testing.assert_array_equal(threads.test, control.test)


def test_labels_that_none_or_all_of_train_carries_predict_their_frequency() -> None:
    (train, truth), (dev, dev_truth) = notes(60, 0), notes(20, 1)
    truth[:, 0], truth[:, 3] = True, False
    control = tfidf_logistic_regression((train, dev, dev), truth, dev_truth, c_grid=(1.0,))
    assert (control.test[:, 0] == 1).all()
    assert (control.test[:, 3] == 0).all()
    with pytest.raises(ValueError, match="c_grid"):
        tfidf_logistic_regression((train, dev, dev), truth, dev_truth, c_grid=())
