"""How much a study trains: trials at every rung, repeats and finals, in epochs; and what an epoch computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.study.forecast.trace import Traced, Work
from sdl_study.study.search.scheduler import rungs
from sdl_study.training.course import finetune_settings


@dataclass(frozen=True)
class Rung:
    """Trials of an arm that run to an epoch."""

    epoch: int
    trials: int


@dataclass(frozen=True)
class Amount:
    """What a study trains for each arm.

    Attributes:
        searches: independent searches of the arm.
        rungs: trials of each search that reach each rung, and the last epoch.
        repeats: trainings on selection seeds, of all searches.
        finals: trainings on final seeds, of all searches.
        epochs: of a whole training.
    """

    searches: int
    rungs: tuple[Rung, ...]
    repeats: int
    finals: int
    epochs: int

    @property
    def search_epochs(self) -> int:
        """Epochs of an arm's searches."""
        starts = (0, *(rung.epoch for rung in self.rungs))
        each = [rung.trials * (rung.epoch - start) for rung, start in zip(self.rungs, starts, strict=False)]
        return self.searches * sum(each)

    @property
    def trainings(self) -> int:
        """Trainings of an arm, trials that are stopped early among them."""
        return self.searches * self.rungs[0].trials + self.whole

    @property
    def whole(self) -> int:
        """Trainings of an arm that run to the end, beside those of its searches."""
        return self.repeats + self.finals


def amount_of(settings: Settings, first: int, searches: int, final_seeds: int, dev: int) -> Amount:
    """What a study trains for each arm; of the trials that reach a rung the best 1/r go on, as ASHA aims at.

    Args:
        settings: of the study.
        first: epoch of the first rung.
        searches: that share the arm's trials.
        final_seeds: of each search's winner.
        dev: examples in dev.
    """
    budget, epochs = settings.budget, settings.train.epochs
    at = (*rungs(epochs, first, budget.reduction_factor), epochs)
    trials, folds = budget.trials // searches, budget.uses_folds(dev)
    # On folds of train and dev the published setting is always among those that run again.
    again = min(budget.selection_top + folds, trials)
    return Amount(
        searches,
        _reached(trials, at, budget.reduction_factor),
        searches * again * budget.repeats(folds),
        searches * final_seeds,
        epochs,
    )


def _reached(trials: int, at: Sequence[int], factor: int) -> tuple[Rung, ...]:
    found = []
    for epoch in at:
        found.append(Rung(epoch, trials))
        trials = math.ceil(trials / factor)
    return tuple(found)


def steps_of(settings: Settings, sizes: DataSizes) -> int:
    """Updates of a whole training."""
    train = settings.train
    return train.epochs * train.passes(sizes.train) * math.ceil(sizes.train / train.batch_size)


def epoch_work(settings: Settings, sizes: DataSizes, traced: Traced, twice: bool, padded: float) -> Work:
    """Operations of an epoch: training, then the embeddings of train and dev for the probe.

    Args:
        settings: of the study.
        sizes: of the data.
        traced: one row of the longest.
        twice: whether every row goes forward twice, as in a contrastive step in micro-batches.
        padded: share of the longest text's tokens that a text costs in a batch.
    """
    step = traced.both + traced.forward if twice else traced.both
    rows = settings.train.passes(sizes.train) * sizes.train
    return (step * rows + traced.forward * (sizes.train + sizes.dev)) * padded


def scoring_work(sizes: DataSizes, traced: Traced, padded: float) -> Work:
    """Operations of the last stage of a final: the embeddings of all examples."""
    return traced.forward * (sizes.examples * padded)


def finetuning_work(settings: Settings, sizes: DataSizes, traced: Traced, padded: float) -> Work:
    """Operations of a fine-tuning: its training, the head's scores of dev after every epoch, at the end those of test.

    Args:
        traced: a row through encoder and classification head.
    """
    train = finetune_settings(settings)
    rows = train.epochs * train.passes(sizes.train) * sizes.train
    return (traced.both * rows + traced.forward * (train.epochs * sizes.dev + sizes.test)) * padded
