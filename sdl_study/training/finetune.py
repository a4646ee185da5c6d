"""The fine-tuning of a final or control: from the encoder that was pretrained, or from one before training, to scores.

A final with something to start from goes on from it. An arm with a classification loss has one training, as long as
both stages together; a control has the last stage alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sdl_study.arms import Arm
from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.training import checkpoint
from sdl_study.training.checkpoint import Progress
from sdl_study.training.course import Course, finetuning, supervised
from sdl_study.training.frozen import with_frozen_outputs
from sdl_study.training.inputs import Inputs
from sdl_study.training.model import PretrainingModel, build_model, start_at_frequencies, with_head
from sdl_study.training.stages.head import score_by_head
from sdl_study.training.trainer import Trainer, load_best
from sdl_study.workers.job import Job, Report


def run_finetune(
    job: Job, settings: Settings, inputs: Inputs, report: Report, channel: Any, device: torch.device
) -> tuple[dict[str, float], Progress]:
    """Train the encoder with a classification head, and score the test inputs by the best epoch's.

    Returns:
        Dev metrics on rank 0, and what both stages came to: examples seen, seconds, and the last stage's best epoch.

    Raises:
        SettingFailure: on every rank at once, the setting diverged.
        UserError: what the final that it starts from left is gone.
    """
    arm = Arm(**job.arm)

    def fresh() -> PretrainingModel:
        labels = inputs.train_labels
        model = build_model(arm, job.seed, settings, inputs.spec, labels.num_labels).to(device)
        if job.start:
            _load_pretrained(Path(job.start), model, device)
        tuned = with_head(model, settings.finetune.head, labels.num_labels, job.seed)
        return start_at_frequencies(tuned, labels, settings).to(device)

    course, model = _course(job, arm, settings, inputs, device), fresh()
    if course.train.augment == "none" and not (
        settings.finetune.head == "label_attention" and _frozen(model)
    ):
        inputs = with_frozen_outputs(inputs, model.encoder, Path(job.stores), settings.train, device)
        course = _course(job, arm, settings, inputs, device)
    trainer = Trainer(job, settings, inputs, model, course, device, channel)
    trainer.train(report)
    if course.train.parallel == "fsdp":
        model = fresh()  # whole on every rank: it is not trained any more, and can be saved
    trainer.load_best(model)
    metrics = score_by_head(model, inputs, settings, job, device)
    return metrics, _with_pretraining(job, trainer.progress, device)


def _course(job: Job, arm: Arm, settings: Settings, inputs: Inputs, device: torch.device) -> Course:
    alone = job.kind == "final" and arm.pretraining == "supervised"
    return supervised(arm, settings, inputs, device) if alone else finetuning(settings, inputs, device)


def _frozen(model: PretrainingModel) -> bool:
    return not any(parameter.requires_grad for parameter in model.encoder.parameters())


def _load_pretrained(folder: Path, model: PretrainingModel, device: torch.device) -> None:
    try:
        load_best(folder, model, device)
    except FileNotFoundError:
        raise UserError(
            f"{folder / checkpoint.BEST}: missing, so fine-tuning has nothing to start from; remove its folder and "
            "start the same command again, which runs this final anew"
        ) from None


def _with_pretraining(job: Job, progress: Progress, device: torch.device) -> Progress:
    """The progress with what the pretraining cost, where there was one."""
    before = checkpoint.load(Path(job.start), checkpoint.LAST, device) if job.start else None
    if before is None:
        return progress
    return replace(
        progress,
        examples_seen=progress.examples_seen + before.progress.examples_seen,
        seconds=progress.seconds + before.progress.seconds,
    )
