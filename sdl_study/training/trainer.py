"""The training of one job on one rank: epochs, each probed, kept in a checkpoint and reported.

Every rank runs the same code. The global batch of a step does not depend on the number of ranks; rank 0 fits the
probe, writes checkpoints and reports, and its word is broadcast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import Settings
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.seeds import derive_seed
from sdl_study.training import checkpoint
from sdl_study.training.batches import Batches
from sdl_study.training.inputs import Inputs
from sdl_study.training.model import PretrainingModel, build_loss
from sdl_study.training.monitors import BatchLog, EpochMonitor
from sdl_study.training.stages.scoring import dev_metrics
from sdl_study.training.step import Step
from sdl_study.workers.events import Epoch
from sdl_study.workers.job import Job, JobStopped, Report

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int


class Trainer:
    """State of one training on one rank.

    Args:
        job: a trial or a final.
        settings: the job's own.
        inputs: what it reads.
        model: freshly initialised, on the device.
        device: of this rank.
        channel: the group of all ranks that carries small objects.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        inputs: Inputs,
        model: PretrainingModel,
        device: torch.device,
        channel: Any,
    ) -> None:
        self.job, self.settings, self.inputs = job, settings, inputs
        self.model, self.device, self.channel = model, device, channel
        self.folder = Path(job.folder)
        train = settings.train
        self.sampler = ContrastiveSampler(
            num_examples=len(inputs.train_rows),
            global_batch_size=train.batch_size,
            seed=derive_seed(job.seed, "order"),
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            labels=inputs.train_labels if train.label_aware > 0 else None,
            label_aware=train.label_aware,
        )
        self.batches = Batches(inputs, train, job.seed, device)
        self.passes = train.passes(len(inputs.train_rows))
        steps = train.epochs * self.passes * self.sampler.steps_per_epoch
        self.step = Step(model, build_loss(Arm(**job.arm), settings), train, steps)
        torch.manual_seed(derive_seed(job.seed, "training", distributed.rank()))
        self.progress = self._restored() if job.resumed else checkpoint.Progress()

    def _restored(self) -> checkpoint.Progress:
        """Go on from the last checkpoint; where an earlier attempt left none, from the start."""
        state = checkpoint.load(self.folder, checkpoint.LAST, self.device)
        if state is None:
            return checkpoint.Progress()
        self.step.load(state.model, state.optimizer, state.schedule, state.loss)
        if distributed.rank() < len(state.rng):  # more ranks than before start from their own seed
            checkpoint.set_random_state(state.rng[distributed.rank()], self.device)
        return state.progress

    def train(self, report: Report) -> None:
        """Train the epochs that are left; each one is probed, kept and reported.

        The last epoch of an earlier attempt is reported again: its report may have been lost with the machine.

        Raises:
            JobStopped: the answer to a report was to stop.
            SettingFailure: on every rank at once, the setting diverged.
        """
        if self.progress.epoch:
            _tell(report, Epoch(self.progress.epoch, self.progress.metrics))
        for epoch in range(self.progress.epoch + 1, self.settings.train.epochs + 1):
            started = time.monotonic()
            metrics = self._epoch(epoch)
            metrics |= self._probe()
            metrics["seconds"] = time.monotonic() - started
            self._keep(epoch, metrics)
            _tell(report, Epoch(epoch, metrics))

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.model.train()
        monitor = EpochMonitor()
        with BatchLog(self.folder if self.settings.train.record_batches else None) as log:
            for number, positions in enumerate(self._positions(epoch)):
                rows = self.inputs.train_rows[positions]
                log.add(epoch, number, rows)
                monitor.add(self.step.update(*self.batches.get((epoch, number), positions)))
        self.progress.examples_seen += self.passes * len(self.inputs.train_rows)
        return {**monitor.metrics(), "train/learning_rate": self.step.learning_rate}

    def _positions(self, epoch: int) -> Iterator[Int[np.ndarray, " b"]]:
        """This rank's positions in train of every step, over all passes of an epoch."""
        last = epoch * self.passes
        for number in range(last - self.passes + 1, last + 1):
            yield from self.sampler.epoch(number)

    def _probe(self) -> dict[str, float]:
        metrics = dev_metrics(self.model.encoder, self.inputs, self.settings, self.job.seed, self.device)
        return distributed.broadcast_object(metrics, self.channel)

    def _keep(self, epoch: int, metrics: dict[str, float]) -> None:
        """Note the epoch and write the checkpoint that a later attempt goes on from."""
        progress, value = self.progress, metrics[self.settings.objective_key]
        is_best = value > progress.best_value
        progress.epoch, progress.metrics = epoch, metrics
        progress.seconds += metrics["seconds"]
        if is_best:
            progress.best_value, progress.best_epoch = value, epoch
        states = distributed.gather_objects(checkpoint.random_state(self.device), self.channel)
        if distributed.rank() == 0:
            state = checkpoint.State(progress=progress, rng=states, **self.step.state())
            checkpoint.save(self.folder, state, is_best)

    def load_best(self) -> None:
        """Give the model the weights of its best epoch.

        Raises:
            FileNotFoundError: nobody left them.
        """
        best = checkpoint.load(self.folder, checkpoint.BEST, self.device)
        if best is None:
            raise FileNotFoundError(checkpoint.BEST)
        self.model.load_state_dict(best.model)


def _tell(report: Report, epoch: Epoch) -> None:
    if not report(epoch):
        raise JobStopped
