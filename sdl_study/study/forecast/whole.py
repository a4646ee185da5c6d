"""The forecast of a study: every encoder traced, and what follows for its trials, its hours and its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.models import Encoder, JointHead, LinearHead, ProjectionHead
from sdl_study.models.outlines import as_on_gpu, outline_failure, shape_encoder, without_numbers
from sdl_study.setting_paths import with_values
from sdl_study.stages import FINETUNE
from sdl_study.study.checks import possible_values
from sdl_study.study.final_seeds import SEEDS_OF_LONG, shared_seeds, trains_again
from sdl_study.study.forecast.devices import Device
from sdl_study.study.forecast.frozen import FrozenPart, frozen_part, outputs_of
from sdl_study.study.forecast.inputs import Reading, reading_of
from sdl_study.study.forecast.measured import Measured, measure_step
from sdl_study.study.forecast.memory import Fit, State, fewest_workers
from sdl_study.study.forecast.plans import Amount, amount_of, epoch_work, finetuning_work, scoring_work
from sdl_study.study.forecast.trace import Batch, Traced, Work, trace
from sdl_study.study.located import encoder_of
from sdl_study.study.search.scheduler import first_rung, longest
from sdl_study.training.model import PretrainingModel, with_head

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.plan import Plan


@dataclass(frozen=True)
class EncoderForecast:
    """What is known of one encoder.

    Attributes:
        name: in the study.
        kind, settings: of the encoder.
        reading: its inputs.
        parameters, trained: numbers of its parameters, without a head.
        state: what stays between steps, the larger head included.
        traced: a row by pretraining, of those that the study's arms have.
        finetuned: a row of the fine-tuning, encoder and head; None without that stage.
        frozen: what is computed once; None where nothing is.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    reading: Reading
    parameters: int
    trained: int
    state: State
    traced: Mapping[str, Traced]
    finetuned: Traced | None = None
    frozen: FrozenPart | None = None

    @property
    def kept_part(self) -> FrozenPart | None:
        """The frozen part whose outputs the trainings start from, so that no step computes it."""
        return self.frozen if self.frozen is not None and self.frozen.kept else None

    @property
    def pretrained(self) -> Traced:
        """The arm that needs most memory."""
        return _largest(self.traced.values())

    @property
    def heaviest(self) -> Traced:
        """The training that needs most memory, of either stage."""
        return self.pretrained if self.finetuned is None else _largest((self.pretrained, self.finetuned))


def _largest(of: Iterable[Traced]) -> Traced:
    return max(of, key=lambda traced: traced.peaks[-1][1])


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
        part = encoder.kept_part  # texts of like length are computed together
        total = (
            Work() if part is None else part.work * (self.sizes.examples * encoder.reading.padded_share(1))
        )
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


def settings_of(plan: Plan) -> Settings:
    """The settings of a study with the batch size of its published point, and the longest training of its space."""
    batch = plan.space.published.get("train.batch_size")
    given = {"train.epochs": longest(plan.settings, plan.space)}
    return with_values(
        plan.settings, given | ({} if batch is None else {"train.batch_size": batch}), plan.name
    )


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


def encoder_forecasts(plan: Plan, sizes: DataSizes, data: PreparedData | None) -> tuple[EncoderForecast, ...]:
    """The encoders that a study may choose, traced.

    Raises:
        UserError: an encoder's configuration is out of reach.
    """
    names = possible_values(plan.space, plan.settings, "model.encoder")
    return tuple(_encoder_forecast(plan, settings_of(plan), name, sizes, data) for name in names)


def _encoder_forecast(
    plan: Plan, settings: Settings, name: str, sizes: DataSizes, data: PreparedData | None
) -> EncoderForecast:
    kind, own = encoder_of(settings.model.encoders[name], plan.module)
    try:
        reading = reading_of(kind, own, settings.data.store, sizes, data)
    except UserError as error:
        raise UserError(f"{plan.name}: model.encoders.{name}: {error}") from None
    try:
        with without_numbers():
            encoder = as_on_gpu(shape_encoder(kind, own, reading.spec).train())
            part = frozen_part(encoder, reading, settings, sizes)
            batch_of = _batches(encoder, reading, part)
            alone = _trace_encoder(encoder, batch_of, settings)
            heads = {
                pretraining: _head(pretraining, encoder.width, settings, sizes.labels)
                for pretraining in dict.fromkeys(arm.pretraining for arm in plan.arms)
            }
            traced = {
                name: alone + _trace_head(head, encoder.width, settings) for name, head in heads.items()
            }
            tuned = _finetuned_model(encoder, settings, sizes.labels)
            all_heads = [*heads.values(), *(() if tuned is None else (tuned.head,))]
            largest = max(all_heads, key=lambda head: State.of(head).total)
            state = State.of(nn.ModuleList([encoder, largest]))
            if encoder.frozen and settings.finetune.head == "label_attention":
                batch_of = reading.batch  # that head looks at all tokens, whose states nobody kept
            finetuned = None if tuned is None else _trace_finetuning(tuned, batch_of, settings)
    except UserError as error:
        raise UserError(f"{plan.name}: model.encoders.{name}: {error}") from None
    except Exception as error:  # a kind of the user's own may look at numbers that are not there
        raise outline_failure(name, error) from error
    counts = [(p.numel(), p.requires_grad) for p in encoder.parameters()]
    total, trained = sum(count for count, _ in counts), sum(count for count, learns in counts if learns)
    return EncoderForecast(name, kind, own, reading, total, trained, state, traced, finetuned, part)


def _batches(encoder: Encoder, reading: Reading, part: FrozenPart | None) -> Callable[[int], Batch]:
    """Batches as training reads them."""
    if part is None or not part.kept:
        return reading.batch
    return lambda rows: outputs_of(encoder, reading.batch(rows))


def _trace_encoder(encoder: nn.Module, batch_of: Callable[[int], Batch], settings: Settings) -> Traced:
    return trace(encoder, batch_of, lambda batch: encoder(**batch), settings.train.precision, "embeddings")


def _finetuned_model(encoder: Encoder, settings: Settings, labels: int) -> PretrainingModel | None:
    if FINETUNE not in settings.stages:
        return None
    start = PretrainingModel(encoder, nn.Identity(), unit_length=False)
    return with_head(start, settings.finetune.head, labels, settings.seed).train()


def _trace_finetuning(
    model: PretrainingModel, batch_of: Callable[[int], Batch], settings: Settings
) -> Traced:
    return trace(model, batch_of, lambda batch: model(batch)[0], settings.train.precision, "logits")


def _trace_head(head: nn.Module, width: int, settings: Settings) -> Traced:
    """A head on embeddings that a gradient goes through."""

    def embeddings(rows: int) -> Batch:
        return {"embeddings": torch.zeros(rows, width, requires_grad=torch.is_grad_enabled())}

    made = "logits" if isinstance(head, LinearHead) else "projections"
    return trace(head, embeddings, lambda batch: head(batch["embeddings"]), settings.train.precision, made)


def _head(pretraining: str, width: int, settings: Settings, labels: int) -> nn.Module:
    if pretraining == "supervised":
        return LinearHead(width, labels)
    projection = settings.model.projection
    head = ProjectionHead(width, projection.hidden, projection.features, projection.norm)
    return JointHead(head, LinearHead(width, labels)) if pretraining == "joint" else head
