"""Controls that need no encoder: what the label frequencies and a bag of words reach.

Both learn from train, choose their settings and threshold on dev, and score the test inputs without labels;
the scores then go through ``final.score_final`` like everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.metrics import multilabel_metrics
from sdl_study.evaluation.targets import Targets, as_targets
from sdl_study.evaluation.thresholds import tune_threshold

if TYPE_CHECKING:
    from jaxtyping import Float

    from sdl_study.evaluation.targets import Labels

C_GRID = (0.1, 1.0, 10.0)


@dataclass(frozen=True, slots=True)
class ControlScores:
    """A control's probabilities for dev [n, L] and test [m, L], its threshold from dev and what was chosen
    there."""

    dev: Float[np.ndarray, "n L"]
    test: Float[np.ndarray, "m L"]
    threshold: float
    chosen: dict[str, float]


def _targets(labels: Labels, count: int, num_labels: int) -> Targets:
    return as_targets(labels, (count, num_labels))


def label_prior(train_labels: Labels, dev_labels: Labels, *, test_count: int) -> ControlScores:
    """Every input gets the frequency of each label in train.

    Args:
        train_labels, dev_labels: label sets or multi-hot matrices.
        test_count: number of test inputs.

    Raises:
        ValueError: train and dev do not have the same labels.
    """
    (rows, num_labels), (dev_rows, _) = _shape(train_labels), _shape(dev_labels)
    frequency = (_targets(train_labels, rows, num_labels).per_label / rows).astype(np.float32)
    dev = np.tile(frequency, (dev_rows, 1))
    threshold = tune_threshold(dev, _targets(dev_labels, dev_rows, num_labels))
    return ControlScores(dev, np.tile(frequency, (test_count, 1)), threshold, {})


def _shape(labels: Any) -> tuple[int, int]:
    """(n, L) of whatever holds the labels."""
    if hasattr(labels, "indptr"):
        return len(labels.indptr) - 1, int(labels.num_labels)
    return int(labels.shape[0]), int(labels.shape[1])


def tfidf_logistic_regression(
    texts: tuple[Sequence[str], Sequence[str], Sequence[str]],
    train_labels: Labels,
    dev_labels: Labels,
    *,
    c_grid: Sequence[float] = C_GRID,
    objective: str = "map",
    max_features: int | None = 200_000,
    workers: int = 1,
) -> ControlScores:
    """TF-IDF of words and one L2-regularised logistic regression per label (scikit-learn, liblinear).

    The inverse strength C is the same for all labels and the best of the grid on dev by ``objective``. Labels
    that none or all of train carries predict their frequency. Cost: labels x grid fits over the words of
    train; 40 labels and 8,000 short notes take seconds, MIMIC-III-full's 8,921 labels hours on one core.

    Args:
        texts: of train, dev and test, in the order of their labels and rows.
        train_labels, dev_labels: label sets or multi-hot matrices.
        c_grid: values of C.
        objective: a metric of ``multilabel_metrics``.
        max_features: bound on the vocabulary, most frequent words first; None for no bound.
        workers: threads; labels are fitted apart, so the result does not depend on it.

    Raises:
        ValueError: an empty grid, or texts without a single word in train.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not c_grid:
        raise ValueError("c_grid needs at least one value")
    train_texts, dev_texts, test_texts = texts
    num_labels = _shape(train_labels)[1]
    targets = _targets(train_labels, len(train_texts), num_labels)
    dev_targets = _targets(dev_labels, len(dev_texts), num_labels)
    words = TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, min_df=2, max_features=max_features, dtype=np.float64
    )
    train, dev, test = (
        words.fit_transform(train_texts),
        words.transform(dev_texts),
        words.transform(test_texts),
    )
    best: ControlScores | None = None
    best_value = -np.inf
    for c in c_grid:
        dev_scores, test_scores = _fit_labels(train, targets, (dev, test), float(c), workers)
        value = multilabel_metrics(dev_scores, dev_targets, threshold=0.5)[objective]
        if best is None or value > best_value:
            threshold = tune_threshold(dev_scores, dev_targets)
            best = ControlScores(
                dev_scores, test_scores, threshold, {"C": float(c), f"dev/{objective}": value}
            )
            best_value = value
    assert best is not None
    return best


def _positive_rows(targets: Targets) -> Iterator[np.ndarray]:
    """Rows that carry each label, label by label."""
    order = np.argsort(targets.columns, kind="stable")
    yield from np.split(targets.rows[order], np.cumsum(targets.per_label)[:-1])


def _fit_labels(
    train: Any, targets: Targets, inputs: tuple[Any, ...], c: float, workers: int
) -> list[Float[np.ndarray, "n L"]]:
    """Probabilities of every label for each of the inputs."""
    count, num_labels = targets.shape

    def fit(positives: np.ndarray) -> list[np.ndarray]:
        if positives.size in (0, count):
            return [np.full(x.shape[0], positives.size / count) for x in inputs]
        truth = np.zeros(count, dtype=np.int64)
        truth[positives] = 1
        return _scores(train, truth, inputs, c)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        columns = list(pool.map(fit, _positive_rows(targets)))
    return [
        np.stack([column[part] for column in columns], axis=1).astype(np.float32).reshape(-1, num_labels)
        for part in range(len(inputs))
    ]


def _scores(train: Any, truth: np.ndarray, inputs: tuple[Any, ...], c: float) -> list[np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, solver="liblinear").fit(train, truth)
    return [model.predict_proba(x)[:, 1] for x in inputs]
