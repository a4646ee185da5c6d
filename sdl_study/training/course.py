"""What a training is: its settings and loss, how long it lasts, and by what an epoch of it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from sdl_study.arms import Arm
from sdl_study.config import Settings, TrainSettings
from sdl_study.training.inputs import Inputs
from sdl_study.training.model import PretrainingModel, build_loss, classification_loss
from sdl_study.training.stages.head import head_metrics
from sdl_study.training.stages.scoring import dev_metrics


@dataclass(frozen=True)
class Course:
    """One training.

    Attributes:
        train: batch, rates and all else; how long it lasts is not read there.
        loss: called with a rank's outputs and label sets.
        passes: over train, of every epoch.
        evaluate: dev metrics of the model after an epoch, called by every rank; rank 0's count.
        passes_before: that the model has made before, so that its order of the data goes on where it was.
    """

    train: TrainSettings
    loss: Any
    passes: tuple[int, ...]
    evaluate: Callable[[PretrainingModel], dict[str, float]]
    passes_before: int = 0


def pretraining(arm: Arm, seed: int, settings: Settings, inputs: Inputs, device: torch.device) -> Course:
    """An arm's own training, each epoch measured by the probe on the frozen encoder."""

    def probed(model: PretrainingModel) -> dict[str, float]:
        return dev_metrics(model.encoder, inputs, settings, seed, device)

    return Course(settings.train, build_loss(arm, settings), _pretraining_passes(settings, inputs), probed)


def supervised(arm: Arm, settings: Settings, inputs: Inputs, device: torch.device) -> Course:
    """The whole training of an arm with a classification loss: by its own settings, as long as both stages together.

    Each epoch is measured by its own head.
    """
    passes = _pretraining_passes(settings, inputs) + _finetuning_passes(settings, inputs)
    evaluate = partial(head_metrics, inputs=inputs, settings=settings, device=device)
    return Course(settings.train, build_loss(arm, settings), passes, evaluate)


def finetuning(settings: Settings, inputs: Inputs, device: torch.device) -> Course:
    """The last stage of all arms that were pretrained, and of the encoder before training."""
    evaluate = partial(head_metrics, inputs=inputs, settings=settings, device=device)
    return Course(
        finetune_settings(settings),
        classification_loss(settings.finetune.loss, settings),
        _finetuning_passes(settings, inputs),
        evaluate,
        passes_before=sum(_pretraining_passes(settings, inputs)),
    )


def finetune_settings(settings: Settings) -> TrainSettings:
    """``finetune`` as settings of a training; how it is computed is as in ``train``, examples are shown as they are."""
    own = settings.finetune.model_dump(exclude={"loss", "head"})
    if own["learning_rate"] is None:
        rates: dict[str, float | None] = {"learning_rate": settings.train.learning_rate}
        if own["head_learning_rate"] is None:
            rates["head_learning_rate"] = settings.train.head_learning_rate
        own |= rates
    plain = {"min_steps": 0, "decay_all": False, "label_aware": 0.0, "augment": "none", "views": 1}
    return settings.train.model_copy(update=own | plain)


def _pretraining_passes(settings: Settings, inputs: Inputs) -> tuple[int, ...]:
    return (settings.train.passes(len(inputs.train_rows)),) * settings.train.epochs


def _finetuning_passes(settings: Settings, inputs: Inputs) -> tuple[int, ...]:
    train = finetune_settings(settings)
    return (train.passes(len(inputs.train_rows)),) * train.epochs
