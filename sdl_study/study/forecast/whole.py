"""The forecast of a study: every encoder traced, and what follows for its trials, its hours and its disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.study.final_seeds import SEEDS_OF_LONG, shared_seeds, trains_again
from sdl_study.study.forecast.devices import Device
from sdl_study.study.forecast.encoders import EncoderForecast, encoder_forecasts, settings_of
from sdl_study.study.forecast.measured import Measured, measure_step
from sdl_study.study.forecast.memory import Fit, fewest_workers
from sdl_study.study.forecast.plans import Amount, amount_of, epoch_work, finetuning_work, scoring_work
from sdl_study.study.forecast.trace import Work
from sdl_study.study.search.scheduler import first_rung

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.plan import Plan


@dataclass(frozen=True)
class Forecast:
    """A study's forecast.

    Attributes:
        plan: the study.
        sizes: of its data, and whether they were counted in the data themselves.
        from_data: whether the data were there.
        encoders: those to choose from.
        amount: what each arm trains.
        measured: a step on this machine; None where even one row takes too long.
        again: finals of the method's setting on other seeds, after the arms'.
    """

    plan: Plan
    sizes: DataSizes
    from_data: bool
    encoders: tuple[EncoderForecast, ...]
    amount: Amount
    measured: Measured | None
    again: int = 0

    @property
    def settings(self) -> Settings:
        """With the published point's batch size, which the others of a search stand around."""
        return settings_of(self.plan)

    def fit(self, encoder: EncoderForecast, device: Device) -> Fit | None:
        """On how few devices a trial fits."""
        train, part = self.settings.train, encoder.frozen
        held = 0.0 if part is None else part.held(device.memory, train.trials_per_gpu)
        return fewest_workers(
            encoder.state, encoder.heaviest, train.batch_size, device.usable - held,
            self.plan.settings.train.workers,
        )  # fmt: skip

    def trial_work(self, encoder: EncoderForecast, fit: Fit | None, pretraining: str) -> Work:
        """Operations of a whole training."""
        return self._epoch(encoder, fit, pretraining) * self.amount.epochs

    def study_work(self, encoder: EncoderForecast, fit: Fit | None) -> Work:
        """Operations of the study if all trials took this encoder."""
        padded_alone = encoder.reading.padded_share(1)  # texts of like length are computed together
        total = Work()
        for part in encoder.kept_parts:
            total += part.work * (self.sizes.examples * padded_alone)
        for arm in self.plan.arms:
            whole = self.amount.whole + (self.again if arm.name == self.plan.method else 0)
            epochs = self.amount.search_epochs + whole * self.amount.epochs
            total += self._epoch(encoder, fit, arm.pretraining) * epochs
        controls = 1 if "untrained" in self.settings.controls else 0
        scored = (len(self.plan.arms) + controls) * self.amount.finals + self.again
        rows = 1 if fit is None else fit.micro_batch
        padded = encoder.reading.padded_share(rows)
        total += scoring_work(self.sizes, encoder.pretrained, padded) * scored
        if encoder.finetuned is None:
            return total
        # An arm with a classification loss has nothing to start from, and trains as long as both stages.
        for arm in self.plan.arms:
            if not arm.contrasts:
                total += self._epoch(encoder, fit, arm.pretraining) * (
                    self.amount.finals * self.amount.epochs
                )
        return total + finetuning_work(self.settings, self.sizes, encoder.finetuned, padded) * scored

    def _epoch(self, encoder: EncoderForecast, fit: Fit | None, pretraining: str) -> Work:
        rows = self.settings.train.batch_size if fit is None else fit.micro_batch
        twice = pretraining != "supervised" and fit is not None and fit.in_parts
        padded = encoder.reading.padded_share(rows)
        return epoch_work(self.settings, self.sizes, encoder.traced[pretraining], twice, padded)


def make_forecast(plan: Plan, expects: DataSizes | None, data: PreparedData | None) -> Forecast:
    """Trace the encoders of a study; nothing is written, nothing trained, and no data are read but a few texts.

    Args:
        plan: the study.
        expects: how large its data are, where they are not there.
        data: they, where they are.

    Raises:
        UserError: nobody says how large the data are, or an encoder's configuration is out of reach.
    """
    sizes = DataSizes.of(data.manifest) if data is not None else expects
    if sizes is None:
        raise UserError(
            f"{plan.name}: --dry-run: nothing says how large the data are; name them with --data DIR"
        )
    settings = settings_of(plan)
    encoders = encoder_forecasts(plan, sizes, data)
    smallest = min(encoders, key=lambda encoder: encoder.heaviest.both.total)
    budget = settings.budget
    seeds = shared_seeds(SEEDS_OF_LONG, budget) if budget.final_seeds == "auto" else budget.final_seeds
    first = first_rung(settings, plan.space, sizes.train)
    amount = amount_of(settings, first, searches=budget.searches, final_seeds=seeds, dev=sizes.dev)
    return Forecast(
        plan, sizes, data is not None, encoders, amount,
        measure_step(smallest, settings),
        amount.finals if trains_again(plan, seeds) else 0,
    )  # fmt: skip
