"""What a worker group runs for a job, on every rank: from the prepared data to what the job came to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import Settings, build_settings
from sdl_study.data.folds import Fold
from sdl_study.record.files import PROJECTION_FILE
from sdl_study.stages import FINETUNE
from sdl_study.training import course
from sdl_study.training.checkpoint import Progress
from sdl_study.training.finetune import run_finetune
from sdl_study.training.frozen import with_frozen_outputs
from sdl_study.training.inputs import Inputs, open_inputs
from sdl_study.training.model import PretrainingModel, build_model, start_at_frequencies
from sdl_study.training.stages.scoring import last_stage
from sdl_study.training.trainer import Trainer
from sdl_study.workers.job import Job, Report


def run_job(job: Job, report: Report, channel: Any, device: torch.device) -> dict[str, Any]:
    """Run a job from its checkpoint, if it has one, to its end.

    Args:
        job: what is to be done.
        report: hands over an epoch and returns whether to go on.
        channel: the gloo group of all ranks that carries small objects; None where there is one process.
        device: of this rank.

    Returns:
        What it came to; of a trial the objective of all its epochs, those before an interruption too, and the best.

    Raises:
        JobStopped: the answer to a report was to stop.
        SettingFailure: on every rank at once, the setting diverged.
    """
    _reset(device)
    settings = build_settings(job.settings, job.key)
    fold = None if job.fold is None else Fold(*job.fold)
    inputs = open_inputs(Path(job.data), Path(job.stores), settings, fold)
    if job.stage == FINETUNE:
        found, progress = run_finetune(job, settings, inputs, report, channel, device)
        return _outcome(found, progress, channel, device)
    arm = Arm(**job.arm)

    def fresh() -> PretrainingModel:
        labels = inputs.train_labels
        built = build_model(arm, job.seed, settings, inputs.spec, labels.num_labels)
        return start_at_frequencies(built, labels, settings).to(device)

    model = fresh()
    if settings.train.augment == "none":
        inputs = with_frozen_outputs(inputs, model.encoder, Path(job.stores), settings.train, device)
    if job.kind == "control":
        return _scored(job, model, Progress(), settings, inputs, channel, device)
    trained = course.pretraining(arm, job.seed, settings, inputs, device)
    trainer = Trainer(job, settings, inputs, model, trained, device, channel)
    trainer.train(report)
    if job.kind == "trial":
        return {"objective": trainer.progress.best_value, "epochs": trainer.progress.values}
    if settings.train.parallel == "fsdp":
        model = fresh()  # whole on every rank: it is not trained any more, and can be saved
    trainer.load_best(model)
    return _scored(job, model, trainer.progress, settings, inputs, channel, device)


def _reset(device: torch.device) -> None:
    """Leave nothing of the job before: what a group ran earlier must not show in a job's numbers."""
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (a library may draw from the global generator)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        # cuDNN plans its attention anew for every length of a batch: half a second each, forward and backward.
        torch.backends.cuda.enable_cudnn_sdp(False)


def _scored(
    job: Job,
    model: PretrainingModel,
    progress: Progress,
    settings: Settings,
    inputs: Inputs,
    channel: Any,
    device: torch.device,
) -> dict[str, Any]:
    """The probe on an encoder that is done, or was never trained."""
    projection = model.projection if job.kind == "final" else None  # a control's was never trained
    beside = {} if projection is None else {PROJECTION_FILE: projection.state_dict()}
    metrics = last_stage(model.encoder, inputs, settings, job, device, beside)
    return _outcome(metrics, progress, channel, device)


def _outcome(
    metrics: dict[str, float], progress: Progress, channel: Any, device: torch.device
) -> dict[str, Any]:
    """What a final or control came to, and what it cost."""
    return {
        "metrics": distributed.broadcast_object(metrics, channel),
        "examples_seen": progress.examples_seen,
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
        "workers": distributed.world_size(),
        "device": device.type,
    }
