"""What a model with a classification head is worth: the head's own scores, of dev, and at the end of test inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sdl_study import distributed
from sdl_study.config import Settings
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.record.files import ENCODER_FOLDER, HEAD_FILE
from sdl_study.training.inputs import Inputs
from sdl_study.training.model import PretrainingModel
from sdl_study.training.stages.embed import computed
from sdl_study.training.stages.scoring import metrics_of, save_encoder
from sdl_study.workers.job import Job

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int


def head_metrics(
    model: PretrainingModel, inputs: Inputs, settings: Settings, device: torch.device
) -> dict[str, float]:
    """Dev metrics of the head's scores.

    Returns:
        Nothing on ranks other than 0.

    Raises:
        SettingFailure: on every rank, logits are not finite.
    """
    scores = _scores(model, inputs.dev_rows, inputs, settings, device)
    return metrics_of(scores, inputs, settings)[0] if distributed.rank() == 0 else {}


def score_by_head(
    model: PretrainingModel, inputs: Inputs, settings: Settings, job: Job, device: torch.device
) -> dict[str, float]:
    """Score the test inputs into the job's folder; their labels are not known here.

    Rank 0 writes ``test_scores.npz`` (rows, scores), and the encoder with the head's weights and its tokenizer or image
    processor beside it.

    Returns:
        Dev metrics and dev's threshold; empty on ranks other than 0.

    Raises:
        SettingFailure: as ``head_metrics``.
    """
    dev = _scores(model, inputs.dev_rows, inputs, settings, device)
    test = _scores(model, inputs.test_rows, inputs, settings, device)
    if distributed.rank() != 0:
        return {}
    metrics, threshold = metrics_of(dev, inputs, settings)
    folder = Path(job.folder)
    save_scores(folder / SCORES_FILE, inputs.test_rows, test)
    save_encoder(model.encoder, inputs, folder / ENCODER_FOLDER, {HEAD_FILE: model.head.state_dict()})
    return {**metrics, "dev/threshold": threshold}


def _scores(
    model: PretrainingModel,
    rows: Int[np.ndarray, " n"],
    inputs: Inputs,
    settings: Settings,
    device: torch.device,
) -> Float[np.ndarray, "n L"]:
    labels = inputs.train_labels.num_labels
    logits = computed(
        model, lambda batch: model(batch)[0], labels, rows, inputs, device, settings.train.precision
    )
    return torch.sigmoid(logits).cpu().numpy()
