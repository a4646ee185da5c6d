"""Controls that need no encoder: what the label frequencies and a bag of words reach.

Both learn from train, choose their settings and threshold on dev, and score the test inputs without labels;
the scores then go through ``final.score_final`` like everybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.errors import UserError
from sdl_study.evaluation.metrics import OBJECTIVES
from sdl_study.evaluation.objective import dev_metrics, objective_key
from sdl_study.evaluation.strength import best_of
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
    grow: bool = False,
    objective: str = "dev/map",
    min_positives: int = 0,
    max_features: int | None = 200_000,
    workers: int = 1,
) -> ControlScores:
    """TF-IDF of words and one L2-regularised logistic regression per label (scikit-learn, liblinear).

    Words are those that two texts of train share; where no two texts share one, all words (``min_df`` in
    ``chosen`` says which). The inverse strength C is the same for all labels and the best of the grid on dev
    by ``objective``, each C at its own threshold from dev. Labels that none or all of train carries predict
    their frequency. Cost: labels x grid fits over the words of train; 40 labels and 8,000 short notes take
    seconds, MIMIC-III-full's 8,921 labels hours on one core.

    Args:
        texts: of train, dev and test, in the order of their labels and rows.
        train_labels, dev_labels: label sets or multi-hot matrices.
        c_grid: values of C.
        grow: whether the grid goes on where its end is the best, as the probe's does.
        objective: what C is chosen by: an objective of a study, with ``dev/``.
        min_positives: positives in dev that a label needs to count in it.
        max_features: bound on the vocabulary, most frequent words first; None for no bound.
        workers: threads; labels are fitted apart, so the result does not depend on it.

    Raises:
        UserError: no text of train holds a word, or dev does not define the objective.
        ValueError: an empty grid, or an unknown objective.
    """
    if not c_grid:
        raise ValueError("c_grid needs at least one value")
    if objective.removeprefix("dev/") not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}; choose one of dev/{', dev/'.join(OBJECTIVES)}")
    num_labels = _shape(train_labels)[1]
    targets = _targets(train_labels, len(texts[0]), num_labels)
    dev_targets = _targets(dev_labels, len(texts[1]), num_labels)
    (train, *inputs), min_df = _tfidf(texts, max_features)

    def fitted(c: float) -> tuple[float, ControlScores]:
        dev_scores, test_scores = _fit_labels(train, targets, inputs, c, workers)
        threshold = tune_threshold(dev_scores, dev_targets)
        key, value = objective_on_dev("tfidf", dev_scores, dev_targets, threshold, objective, min_positives)
        chosen = {"C": c, "min_df": float(min_df), key: value}
        return -value, ControlScores(dev_scores, test_scores, threshold, chosen)

    grid = {1.0 / c: float(c) for c in c_grid}
    return best_of(lambda strength: fitted(grid.get(strength, 1.0 / strength)), sorted(grid), grow)


def _tfidf(texts: Sequence[Sequence[str]], max_features: int | None) -> tuple[list[Any], int]:
    """TF-IDF matrices of train and the other texts, and in how many texts of train a word has to stand."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, max_features=max_features, dtype=np.float64
    )
    min_df = _texts_that_share_a_word(texts[0], words.build_analyzer())
    if min_df == 0:
        raise UserError(
            "no text of train holds a word, so tfidf has nothing to learn from; see that the right column was "
            "prepared as text, or leave tfidf out of the controls"
        )
    words.set_params(min_df=min_df)
    made = [words.fit_transform(texts[0]), *(words.transform(part) for part in texts[1:])]
    return [_shareable(matrix) for matrix in made], min_df


def _shareable(matrix: Any) -> Any:
    """A sparse matrix that threads may use at once: in its normal form, and nobody can write to it.

    SciPy brings a matrix to its normal form where it lies as soon as an operation needs that, its maximum for one,
    which every fit asks for; threads that do so at once destroy each other's memory.
    """
    matrix.sum_duplicates()
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.flags.writeable = False
    return matrix


def _texts_that_share_a_word(texts: Sequence[str], analyze: Callable[[str], list[str]]) -> int:
    """2 where a word stands in two texts, 1 where there are words but none does, 0 where there is no word."""
    seen: set[str] = set()
    for text in texts:
        words = set(analyze(text))
        if not seen.isdisjoint(words):
            return 2
        seen |= words
    return int(bool(seen))


def objective_on_dev(
    control: str,
    scores: Float[np.ndarray, "n L"],
    labels: Labels,
    threshold: float,
    objective: str,
    min_positives: int,
) -> tuple[str, float]:
    """What a control is tuned by, as every arm is: the key of the dev metrics, and the value.

    Raises:
        UserError: dev does not define it.
    """
    key = objective_key(objective, min_positives)
    value = dev_metrics(
        scores, labels, threshold=threshold, objective=objective, min_positives=min_positives
    )[key]
    if np.isnan(value):
        raise UserError(
            f"{objective} is undefined on dev, so {control} cannot be tuned; choose another objective"
        )
    return key, value


def _positive_rows(targets: Targets) -> Iterator[np.ndarray]:
    """Rows that carry each label, label by label."""
    order = np.argsort(targets.columns, kind="stable")
    yield from np.split(targets.rows[order], np.cumsum(targets.per_label)[:-1])


def _fit_labels(
    train: Any, targets: Targets, inputs: Sequence[Any], c: float, workers: int
) -> list[Float[np.ndarray, "_ L"]]:
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


def _scores(train: Any, truth: np.ndarray, inputs: Sequence[Any], c: float) -> list[np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, solver="liblinear").fit(train, truth)
    return [model.predict_proba(x)[:, 1] for x in inputs]
