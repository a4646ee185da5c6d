"""Controls that need no worker group: the label prior and a logistic regression on what the encoders read.

For texts that is TF-IDF, for features (``raw``) the features themselves. Both are tuned on dev, as the arms are.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sdl_study.arms import LABEL_PRIOR, RAW, TFIDF
from sdl_study.config import Settings
from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.controls import (
    ControlScores,
    label_prior,
    objective_on_dev,
    tfidf_logistic_regression,
)
from sdl_study.evaluation.objective import dev_metrics
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.evaluation.strength import best_of
from sdl_study.evaluation.thresholds import tune_threshold
from sdl_study.record.outcome import Result
from sdl_study.training.inputs import train_labels
from sdl_study.training.stages.probe import fit_probe

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from sdl_study.losses import LabelSets

_ONLY_OF = {TFIDF: "text", RAW: "features"}


def controls_of(data: PreparedData, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The controls that these data allow, in the order asked for: a bag of words needs texts, ``raw`` features."""
    holds = data.manifest.modality
    return tuple(name for name in wanted if _ONLY_OF.get(name, holds) == holds)


def run_control(name: str, data: PreparedData, settings: Settings, folder: Path) -> Result:
    """Learn from train and dev and write the test inputs' scores; test labels are not known here."""
    started = time.monotonic()
    workers = len(os.sched_getaffinity(0)) if name == TFIDF else 1
    scores = _scores(name, data, settings, workers)
    save_scores(folder / SCORES_FILE, data.rows("test"), scores.test)
    metrics = dev_metrics(
        scores.dev,
        data.labels("dev"),
        threshold=scores.threshold,
        objective=settings.objective,
        min_positives=settings.objective_min_positives,
    )
    return Result(
        metrics={
            **metrics,
            "dev/threshold": float(scores.threshold),
            **{f"control/{key}": float(value) for key, value in scores.chosen.items()},
        },
        examples_seen=0,
        best_epoch=0,
        seconds=time.monotonic() - started,
        workers=workers,
        device="cpu",
    )


def _scores(name: str, data: PreparedData, settings: Settings, workers: int) -> ControlScores:
    train, dev = train_labels(data, settings), data.labels("dev")
    if name == LABEL_PRIOR:
        return label_prior(train, dev, test_count=len(data.rows("test")))
    if name == RAW:
        return _raw(data, train, dev, settings)
    texts = (data.texts(data.rows("train")), data.texts(data.rows("dev")), data.texts(data.rows("test")))
    return tfidf_logistic_regression(
        texts,
        train,
        dev,
        workers=workers,
        objective=settings.objective,
        min_positives=settings.objective_min_positives,
        grow=settings.probe.grow,
    )


def _raw(data: PreparedData, train: LabelSets, dev: LabelSets, settings: Settings) -> ControlScores:
    """The probe on the features, with the strength of its grid that is best on dev by the objective.

    The grid grows as an encoder's does where its end is the best.
    """
    inputs = _standardised(data)
    objective, min_positives = settings.objective, settings.objective_min_positives

    def fitted(l2: float) -> tuple[float, ControlScores]:
        probe = fit_probe(inputs[0], train, l2_grid=(l2,))
        of_dev, of_test = (probe.predict_proba(part).numpy() for part in inputs[1:])
        threshold = float(tune_threshold(of_dev, dev))
        key, value = objective_on_dev(RAW, of_dev, dev, threshold, objective, min_positives)
        return -value, ControlScores(of_dev, of_test, threshold, {"l2": l2, key: value})

    return best_of(fitted, settings.probe.l2_grid, settings.probe.grow)


def _standardised(data: PreparedData) -> list[Float[Tensor, "_ D"]]:
    """Features of train, dev and test by train's mean and deviation, as the encoders read them."""
    features = data.features()
    train = torch.from_numpy(features[data.rows("train")]).double()
    scale, mean = torch.std_mean(train, dim=0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    parts = (torch.from_numpy(features[data.rows(split)]).double() for split in ("train", "dev", "test"))
    return [((part - mean) / scale).float() for part in parts]
