"""The training of one job on one rank: epochs, each evaluated, kept in a checkpoint and reported.

Every rank runs the same code. The global batch of a step does not depend on the number of ranks, nor does the probe,
whose labels they share; rank 0 writes checkpoints and reports, and its word is broadcast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.config import Settings
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.seeds import derive_seed
from sdl_study.training import checkpoint
from sdl_study.training.batches import Batches
from sdl_study.training.course import Course
from sdl_study.training.inputs import Inputs
from sdl_study.training.memory import micro_batch_of
from sdl_study.training.model import PretrainingModel
from sdl_study.training.monitors import BatchLog, EpochMonitor, monitor_of
from sdl_study.training.prefetch import prefetched
from sdl_study.training.step import Step
from sdl_study.workers.events import Epoch
from sdl_study.workers.job import Job, JobStopped, Report

if TYPE_CHECKING:
    from jaxtyping import Int


class Trainer:
    """State of one training on one rank.

    Args:
        job: a trial or a final.
        settings: the job's own.
        inputs: what it reads.
        model: as its training starts, on the device.
        course: how it is trained, and by what an epoch is measured.
        device: of this rank.
        channel: the group of all ranks that carries small objects.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        inputs: Inputs,
        model: PretrainingModel,
        course: Course,
        device: torch.device,
        channel: Any,
    ) -> None:
        self.job, self.settings, self.inputs = job, settings, inputs
        self.model, self.course = model, course
        self.device, self.channel = device, channel
        self.folder = Path(job.folder)
        train, rows = course.train, len(inputs.train_rows)
        self.sampler = ContrastiveSampler(
            num_examples=rows,
            global_batch_size=train.batch_size,
            seed=derive_seed(job.seed, "order"),
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            labels=inputs.train_labels if train.label_aware > 0 else None,
            label_aware=train.label_aware,
        )
        steps = sum(course.passes) * self.sampler.steps_per_epoch
        if train.compile:
            model.encoder.compile(dynamic=True)  # texts of a batch are as long as the longest of them
        micro_batch = micro_batch_of(train, model, inputs, device)
        self.batches = Batches(inputs, train, job.seed, device, micro_batch)
        self.step = Step(model, course.loss, train, steps, micro_batch)
        self.pace = checkpoint.Pace(60 * train.checkpoint_minutes, channel)
        self.monitor = self._new_monitor()
        torch.manual_seed(derive_seed(job.seed, "training", distributed.rank()))
        self.progress = self._restored() if job.resumed else checkpoint.Progress()

    def _new_monitor(self) -> EpochMonitor:
        train = self.course.train
        rows = min(train.batch_size, len(self.inputs.train_rows))
        return monitor_of(train, rows, contrastive=self.model.unit_length)

    def _restored(self) -> checkpoint.Progress:
        """Go on from the last checkpoint; where an earlier attempt left none, from the start."""
        state = checkpoint.load(self.folder, checkpoint.LAST, self.device)
        if state is None:
            return checkpoint.Progress()
        if state.model:  # else the training is over, and its weights are not needed any more
            self.step.load(state.model, state.optimizer, state.schedule, state.loss)
        rank = distributed.rank()
        if rank < len(state.rng):  # more ranks than before start from their own seed
            checkpoint.set_random_state(state.rng[rank], self.device)
        if state.watched:
            seen = state.watched[rank] if rank < len(state.watched) else {**state.watched[0], "watch": {}}
            self.monitor.load(**seen)
        return state.progress

    def train(self, report: Report) -> None:
        """Train the epochs that are left; each one is evaluated, kept and reported.

        The last epoch of an earlier attempt is reported again: its report may have been lost with the machine.

        Raises:
            JobStopped: the answer to a report was to stop.
            SettingFailure: on every rank at once, the setting diverged.
        """
        if self.progress.epoch:
            _tell(report, Epoch(self.progress.epoch, self.progress.metrics))
        for epoch in range(self.progress.epoch + 1, len(self.course.passes) + 1):
            started = time.monotonic() - self.progress.elapsed
            metrics = self._epoch(epoch, started)
            metrics |= self._evaluated()
            metrics["seconds"] = time.monotonic() - started
            self._keep(epoch, metrics)
            _tell(report, Epoch(epoch, metrics))

    def _epoch(self, epoch: int, started: float) -> dict[str, float]:
        """The updates of an epoch that are left, with a checkpoint now and then."""
        self.model.train()
        self.pace.restart()
        log = BatchLog(self.folder if self.course.train.record_batches else None)
        numbered = islice(enumerate(self._positions(epoch)), self.progress.step, None)
        batches = (((epoch, number), positions) for number, positions in numbered)
        with log, prefetched(batches, self.batches.read) as read:
            for batch in read:
                number = batch.step[1]
                log.add(epoch, number, batch.rows)
                self.monitor.add(self.step.update(*self.batches.on_device(batch)))
                if self.pace.due():
                    self.progress.step, self.progress.elapsed = number + 1, time.monotonic() - started
                    self._write()
        self.progress.examples_seen += self.course.passes[epoch - 1] * len(self.inputs.train_rows)
        return {**self.monitor.metrics(), "train/learning_rate": self.step.learning_rate}

    def _positions(self, epoch: int) -> Iterator[Int[np.ndarray, " b"]]:
        """This rank's positions in train of every step, over all passes of an epoch."""
        passes = self.course.passes
        before = self.course.passes_before + sum(passes[: epoch - 1])
        for number in range(before + 1, before + passes[epoch - 1] + 1):
            yield from self.sampler.epoch(number)

    def _evaluated(self) -> dict[str, float]:
        with distributed.whole_weights(self.model):
            metrics = self.course.evaluate(self.model)
        return distributed.broadcast_object(metrics, self.channel)

    def _keep(self, epoch: int, metrics: dict[str, float]) -> None:
        """Note the epoch and write the checkpoint that a later attempt goes on from."""
        progress, value = self.progress, metrics[self.settings.objective_key]
        is_best = value > progress.best_value
        progress.epoch, progress.metrics = epoch, metrics
        progress.values = [*progress.values, value]
        progress.seconds += metrics["seconds"]
        progress.step, progress.elapsed = 0, 0.0
        if is_best:
            progress.best_value, progress.best_epoch = value, epoch
        self.monitor = self._new_monitor()
        # A trial's weights are not read again.
        self._write(is_best and self.job.kind != "trial", is_over=epoch == len(self.course.passes))

    def _write(self, is_best: bool = False, is_over: bool = False) -> None:
        """A checkpoint by rank 0, of what all ranks hold; it is there when any of them goes on, which may read it."""
        state = checkpoint.State(self.progress, {}) if is_over and not is_best else self._state()

        def save() -> None:
            if distributed.rank() == 0:
                checkpoint.save(self.folder, state, is_best, is_over)

        distributed.together(save, group=self.channel)
        self.pace.restart()

    def _state(self) -> checkpoint.State:
        own = {"rng": checkpoint.random_state(self.device), "watched": self.monitor.state()}
        of_ranks = distributed.gather_objects(own, self.channel)
        ranks = {name: [rank[name] for rank in of_ranks] for name in own}
        return checkpoint.State(progress=self.progress, **ranks, **self.step.state())

    def load_best(self, model: PretrainingModel) -> None:
        """Give a model, the trained one or a whole one of its kind, the weights of the best epoch.

        Raises:
            FileNotFoundError: nobody left them.
        """
        load_best(self.folder, model, self.device)


def _tell(report: Report, epoch: Epoch) -> None:
    if not report(epoch):
        raise JobStopped


def load_best(folder: Path, model: PretrainingModel, device: torch.device) -> None:
    """Give a model the weights of the best epoch of a job of its kind.

    Raises:
        FileNotFoundError: nobody left them.
    """
    best = checkpoint.load(folder, checkpoint.BEST, device)
    if best is None:
        raise FileNotFoundError(checkpoint.BEST)
    checkpoint.put_back(model, best.model)
