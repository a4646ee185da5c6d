"""Controls that need no worker group: the label prior and, for texts, TF-IDF with logistic regression."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from sdl_study.arms import LABEL_PRIOR, TFIDF
from sdl_study.config import Settings
from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.controls import ControlScores, label_prior, tfidf_logistic_regression
from sdl_study.evaluation.metrics import OBJECTIVES, multilabel_metrics
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.record.outcome import Result
from sdl_study.training.inputs import train_labels


def controls_of(data: PreparedData, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The controls that these data allow, in the order asked for: a bag of words needs texts."""
    return tuple(name for name in wanted if name != TFIDF or data.manifest.modality == "text")


def run_control(name: str, data: PreparedData, settings: Settings, folder: Path) -> Result:
    """Learn from train and dev and write the test inputs' scores; test labels are not known here."""
    started = time.monotonic()
    workers = len(os.sched_getaffinity(0)) if name == TFIDF else 1
    scores = _scores(name, data, settings, workers)
    save_scores(folder / SCORES_FILE, data.rows("test"), scores.test)
    labels = data.labels("dev").to_multi_hot(torch.bool).numpy()
    metrics = multilabel_metrics(scores.dev, labels, threshold=scores.threshold)
    return Result(
        metrics={
            **{f"dev/{key}": float(metrics[key]) for key in OBJECTIVES},
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
    texts = (data.texts(data.rows("train")), data.texts(data.rows("dev")), data.texts(data.rows("test")))
    objective = settings.objective.removeprefix("dev/")
    return tfidf_logistic_regression(texts, train, dev, workers=workers, objective=objective)
