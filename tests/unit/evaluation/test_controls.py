"""Controls without an encoder: what they learn, and that test texts teach them nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdl_study.errors import UserError
from sdl_study.evaluation import controls, multilabel_metrics
from sdl_study.evaluation.controls import ControlScores, label_prior, tfidf_logistic_regression
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


def test_a_grid_that_is_too_short_goes_on_at_either_end() -> None:
    (train, train_truth), (dev, dev_truth) = notes(120, 0), notes(60, 1)
    train_truth ^= (
        np.random.default_rng(2).random(train_truth.shape) < 0.2
    )  # so that weak strengths learn mistakes

    def tuned(c_grid: tuple[float, ...], grow: bool) -> dict[str, float]:
        texts = (train, dev, dev[:1])
        return tfidf_logistic_regression(texts, train_truth, dev_truth, c_grid=c_grid, grow=grow).chosen

    for start in ((1e-4, 1e-3), (1e3, 1e4)):
        short, grown = tuned(start, grow=False), tuned(start, grow=True)
        assert short["C"] in start
        assert grown["dev/map"] > short["dev/map"]
        assert 1e-3 < grown["C"] < 1e3
    assert tuned((1e-4,), grow=True)["C"] == 1e-4


def test_labels_that_none_or_all_of_train_carries_predict_their_frequency() -> None:
    (train, truth), (dev, dev_truth) = notes(60, 0), notes(20, 1)
    truth[:, 0], truth[:, 3] = True, False
    control = tfidf_logistic_regression((train, dev, dev), truth, dev_truth, c_grid=(1.0,))
    assert (control.test[:, 0] == 1).all()
    assert (control.test[:, 3] == 0).all()
    with pytest.raises(ValueError, match="c_grid"):
        tfidf_logistic_regression((train, dev, dev), truth, dev_truth, c_grid=())


def test_texts_that_share_no_word_are_learnt_from_all_their_words() -> None:
    truth = np.eye(3, dtype=bool)
    control = tfidf_logistic_regression(
        (["aa bb", "cc dd", "ee ff"], ["aa"], ["dd x"]), truth, truth[:1], c_grid=(10.0,)
    )
    assert control.chosen["min_df"] == 1.0
    assert control.test[0].argmax() == 1
    shared = tfidf_logistic_regression(
        (["aa bb", "cc dd", "aa ff"], ["aa"], ["dd"]), truth, truth[:1], c_grid=(10.0,)
    )
    assert shared.chosen["min_df"] == 2.0


@pytest.mark.parametrize("texts", [["", "", ""], ["!?", " ", "…"]])
def test_texts_without_a_word_are_told_in_one_line(texts: list[str]) -> None:
    truth = np.eye(3, dtype=bool)
    with pytest.raises(UserError, match=r"no text of train holds a word.*leave tfidf out") as caught:
        tfidf_logistic_regression((texts, ["aa"], ["bb"]), truth, truth[:1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("objective", ["map", "map_document", "micro_f1", "macro_f1"])
def test_the_strength_is_the_best_by_the_objective(objective: str) -> None:
    """Also for metrics of decisions, whose threshold is each strength's own."""
    (train, train_truth), (dev, dev_truth) = notes(120, 0), notes(60, 1)
    grid = (1e-3, 0.03, 1.0, 30.0)

    def tuned(c_grid: tuple[float, ...]) -> ControlScores:
        return tfidf_logistic_regression(
            (train, dev, dev[:1]), train_truth, dev_truth, c_grid=c_grid, objective=f"dev/{objective}"
        )

    values = []
    for c in grid:
        one = tuned((c,))
        values.append(multilabel_metrics(one.dev, dev_truth, threshold=one.threshold)[objective])
        assert one.chosen[f"dev/{objective}"] == values[-1]
    best = max(values)
    found = tuned(grid)
    assert found.chosen["C"] == grid[values.index(best)]
    assert found.chosen[f"dev/{objective}"] == best


def test_an_objective_that_cannot_be_used_is_named() -> None:
    (train, truth), (dev, dev_truth) = notes(40, 0), notes(10, 1)
    with pytest.raises(ValueError, match="unknown objective 'dev/accuracy'"):
        tfidf_logistic_regression((train, dev, dev), truth, dev_truth, objective="dev/accuracy")
    with pytest.raises(UserError, match="map is undefined on dev"):
        tfidf_logistic_regression((train, dev, dev), truth, np.zeros_like(dev_truth))


def test_threads_share_matrices_that_nobody_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy sorts a matrix in place when it needs that: with 16 threads a fit crashed the process."""
    seen: list[Any] = []
    fit_labels = controls._fit_labels

    def kept(train: Any, targets: Any, inputs: Any, *more: Any) -> Any:
        seen.extend((train, *inputs))
        return fit_labels(train, targets, inputs, *more)

    monkeypatch.setattr(controls, "_fit_labels", kept)
    texts = ["delta alpha beta", "beta alpha", "gamma delta", "alpha gamma beta delta"] * 3
    truth = np.arange(24).reshape(12, 2) % 3 == 0
    tfidf_logistic_regression((texts, texts, texts[:5]), truth, truth, c_grid=(1.0,), workers=2)
    assert len(seen) == 3
    for matrix in seen:
        assert matrix.has_canonical_format
        assert not any(a.flags.writeable for a in (matrix.data, matrix.indices, matrix.indptr))
