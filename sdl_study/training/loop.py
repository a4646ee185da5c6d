"""One job on one rank: train by epochs, probe after each, keep a checkpoint, ask whether to go on.

Every rank runs the same code. The global batch of a step does not depend on the number of ranks; rank 0 fits the
probe, writes checkpoints and reports, and its word is broadcast.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import Settings, build_settings
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.losses import LabelSets
from sdl_study.models import LinearHead, ProjectionHead, build_encoder
from sdl_study.seeds import derive_seed
from sdl_study.training import checkpoint
from sdl_study.training.batches import BatchLog, Inputs, open_inputs
from sdl_study.training.criterion import build_criterion
from sdl_study.training.stages import dev_metrics, last_stage
from sdl_study.workers.events import Epoch
from sdl_study.workers.job import Job, JobStopped, Report, SettingFailure


class NonFiniteLoss(SettingFailure):
    """The global loss is NaN or infinite; raised by every rank at the same step, before the update."""


class Pretraining(nn.Module):
    """Encoder and head; a contrastive arm's outputs have unit length (the losses take embeddings as given)."""

    def __init__(self, encoder: nn.Module, head: nn.Module, unit_length: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.unit_length = encoder, head, unit_length

    def forward(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of the head for the loss, and the encoder's embeddings."""
        embeddings = self.encoder(**inputs)
        outputs = self.head(embeddings)
        return (functional.normalize(outputs.float(), dim=1) if self.unit_length else outputs), embeddings


def run_job(job: Job, report: Report, channel: Any, device: torch.device) -> dict[str, Any]:
    """Run a job from its checkpoint, if it has one, to its end.

    Returns:
        What it came to; of a trial the best objective over all its epochs, those before an interruption too.

    Raises:
        JobStopped: the answer to a report was to stop.
        NonFiniteLoss: see there.
    """
    _reset(device)
    settings = build_settings(job.settings, job.key)
    inputs = open_inputs(Path(job.data), Path(job.stores), settings)
    trainer = Trainer(job, settings, inputs, device, channel)
    if job.kind != "control":
        trainer.train(report)
    if job.kind == "trial":
        return {"objective": trainer.progress.best_value}
    return trainer.finish()


def _reset(device: torch.device) -> None:
    """Leave nothing of the job before: what a group ran earlier must not show in a job's numbers."""
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (a library may draw from the global generator)
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Trainer:
    """State of one job on one rank."""

    def __init__(
        self, job: Job, settings: Settings, inputs: Inputs, device: torch.device, channel: Any
    ) -> None:
        self.job, self.settings, self.inputs = job, settings, inputs
        self.device, self.channel = device, channel
        self.folder, self.arm = Path(job.folder), Arm(**job.arm)
        torch.manual_seed(derive_seed(job.seed, "initialisation"))
        self.model = self._build_model().to(device)
        self.criterion = build_criterion(self.arm, settings.loss)
        self.parallel = distributed.data_parallel(self.model) if job.kind != "control" else self.model
        train = settings.train
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=train.learning_rate,
            weight_decay=train.weight_decay,
        )
        self.sampler = ContrastiveSampler(
            num_examples=len(inputs.train_rows),
            global_batch_size=train.batch_size,
            seed=derive_seed(job.seed, "order"),
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            labels=inputs.train_labels if train.label_aware > 0 else None,
            label_aware=train.label_aware,
        )
        self.schedule = self._warmup_then_cosine(train.epochs * self.sampler.steps_per_epoch)
        torch.manual_seed(derive_seed(job.seed, "training", distributed.rank()))
        self.progress = self._restore()

    def _build_model(self) -> Pretraining:
        model = self.settings.model
        chosen = dict(model.encoders[model.encoder])
        encoder = build_encoder(chosen.pop("kind"), chosen, self.inputs.spec)
        if self.arm.pretraining == "supervised":
            return Pretraining(encoder, LinearHead(encoder.width, self.inputs.train_labels.num_labels), False)
        head = ProjectionHead(
            encoder.width, model.projection.hidden, model.projection.features, model.projection.norm
        )
        return Pretraining(encoder, head, True)

    def _warmup_then_cosine(self, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        warmup = max(1, round(self.settings.train.warmup_fraction * steps))
        rise = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0 / warmup, 1.0, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=max(1, steps - warmup))
        return torch.optim.lr_scheduler.SequentialLR(self.optimizer, [rise, fall], milestones=[warmup])

    def _restore(self) -> checkpoint.Progress:
        state = checkpoint.load(self.folder, checkpoint.LAST, self.device) if self.job.resumed else None
        if state is None:
            return checkpoint.Progress()
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.schedule.load_state_dict(state.schedule)
        if distributed.rank() < len(state.rng):  # more ranks than before start from their own seed
            checkpoint.set_random_state(state.rng[distributed.rank()], self.device)
        return state.progress

    def train(self, report: Report) -> None:
        """Train the epochs that are left; each one is probed, kept and reported.

        The last epoch of an earlier attempt is reported again: its report may have been lost with the machine.
        """
        if self.progress.epoch:
            self._report(report, self.progress.epoch, self.progress.metrics)
        for epoch in range(self.progress.epoch + 1, self.settings.train.epochs + 1):
            started = time.monotonic()
            metrics = self._epoch(epoch)
            metrics |= self._probe()
            metrics["seconds"] = time.monotonic() - started
            self._keep(epoch, metrics)
            self._report(report, epoch, metrics)

    def _report(self, report: Report, epoch: int, metrics: dict[str, float]) -> None:
        if not report(Epoch(epoch, metrics)):
            raise JobStopped

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.model.train()
        log = BatchLog.open(self.folder, self.settings.train.record_batches)
        spread, losses, valid = _Spread(), [], []
        for step, positions in enumerate(self.sampler.epoch(epoch)):
            log.add(epoch, step, self.inputs.train_rows[positions])
            labels = self.inputs.train_labels[positions]
            loss, seen = self._step(self.inputs.fetch(self.inputs.train_rows[positions], self.device), labels)
            losses.append(loss)
            valid.append(float(self.criterion.valid_anchor_fraction))
            spread.add(seen)
        log.close()
        self.progress.examples_seen += len(self.inputs.train_rows)
        return {
            "train/loss": float(np.mean(losses)),
            "train/valid_anchor_fraction": float(np.mean(valid)),
            "train/collapse": spread.collapse(),
            "train/learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _step(self, batch: dict[str, torch.Tensor], labels: LabelSets) -> tuple[float, torch.Tensor]:
        """One update; returns the global loss and the vectors whose spread tells a collapse."""
        train = self.settings.train
        with torch.autocast(self.device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            outputs, embeddings = self.parallel(batch)
        loss = self._loss(outputs, labels)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise NonFiniteLoss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if train.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), train.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        return value, (outputs if self.model.unit_length else embeddings).detach()

    def _loss(self, outputs: torch.Tensor, labels: LabelSets) -> torch.Tensor:
        """The loss; embeddings that are not finite on any rank, which it refuses on all, are a diverged trial."""
        try:
            return self.criterion(outputs, labels)
        except ValueError:
            broken = torch.tensor(
                [not torch.isfinite(outputs).all()], dtype=torch.float32, device=self.device
            )
            if float(distributed.all_reduce_sum(broken)) > 0:
                raise NonFiniteLoss from None
            raise

    def _probe(self) -> dict[str, float]:
        metrics = dev_metrics(self.model.encoder, self.inputs, self.settings, self.job.seed, self.device)
        return distributed.broadcast_object(metrics, self.channel)

    def _keep(self, epoch: int, metrics: dict[str, float]) -> None:
        progress, value = self.progress, metrics[self.settings.objective]
        is_best = value > progress.best_value
        progress.epoch, progress.metrics = epoch, metrics
        progress.seconds += metrics["seconds"]
        if is_best:
            progress.best_value, progress.best_epoch = value, epoch
        states = distributed.gather_objects(checkpoint.random_state(self.device), self.channel)
        if distributed.rank() == 0:
            state = checkpoint.State(
                progress=progress,
                model=self.model.state_dict(),
                optimizer=self.optimizer.state_dict(),
                schedule=self.schedule.state_dict(),
                rng=states,
            )
            checkpoint.save(self.folder, state, is_best)

    def finish(self) -> dict[str, Any]:
        """The last stage, on the best epoch's encoder (a control's: untrained), with the test inputs' scores."""
        if self.job.kind == "final":
            best = checkpoint.load(self.folder, checkpoint.BEST, self.device)
            if best is None:
                raise FileNotFoundError(checkpoint.BEST)
            self.model.load_state_dict(best.model)
        ended = last_stage(self.model.encoder, self.inputs, self.settings, self.job, self.device)
        return {
            "metrics": distributed.broadcast_object(ended, self.channel),
            "examples_seen": self.progress.examples_seen,
            "best_epoch": self.progress.best_epoch,
            "seconds": self.progress.seconds,
            "workers": distributed.world_size(),
            "device": self.device.type,
        }


class _Spread:
    """|mean v|² / mean |v|² over the vectors of an epoch and all ranks: 1 where they are all the same."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | None = None
        self._squares, self._count = 0.0, 0

    def add(self, vectors: torch.Tensor) -> None:
        rows = vectors.double()
        self._sum = rows.sum(0) if self._sum is None else self._sum + rows.sum(0)
        self._squares += float(rows.square().sum())
        self._count += rows.shape[0]

    def collapse(self) -> float:
        if self._sum is None:
            return 0.0
        totals = torch.tensor(
            [self._squares, float(self._count)], dtype=torch.float64, device=self._sum.device
        )
        squares, count = distributed.all_reduce_sum(totals).tolist()
        mean = distributed.all_reduce_sum(self._sum) / max(count, 1.0)
        return float(mean.square().sum()) / max(squares / max(count, 1.0), 1e-30)
