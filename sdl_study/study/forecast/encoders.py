"""The forecast of a study's encoders: each built from its configuration without numbers, and traced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from optuna.distributions import IntDistribution
from torch import nn

from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.models import Encoder, JointHead, LinearHead, ProjectionHead
from sdl_study.models.outlines import as_on_gpu, outline_failure, shape_encoder, without_numbers
from sdl_study.setting_paths import with_values
from sdl_study.stages import FINETUNE
from sdl_study.study.checks import extremes, possible_values
from sdl_study.study.forecast.frozen import FrozenPart, frozen_part, outputs_of
from sdl_study.study.forecast.inputs import Reading, reading_of
from sdl_study.study.forecast.memory import State
from sdl_study.study.forecast.trace import Batch, Traced, trace
from sdl_study.study.located import encoder_of
from sdl_study.study.search.scheduler import longest
from sdl_study.training.model import PretrainingModel, with_head

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.plan import Plan

_FROZEN_LAYERS = "frozen_layers"


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
        other_frozen: the same with the other numbers of frozen layers that the search may choose.
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
    other_frozen: tuple[FrozenPart, ...] = ()

    @property
    def kept_part(self) -> FrozenPart | None:
        """The frozen part whose outputs the trainings start from, so that no step computes it."""
        return self.frozen if self.frozen is not None and self.frozen.kept else None

    @property
    def kept_parts(self) -> tuple[FrozenPart, ...]:
        """All that the study computes once and keeps."""
        return tuple(part for part in (self.frozen, *self.other_frozen) if part is not None and part.kept)

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


def settings_of(plan: Plan) -> Settings:
    """The settings of a study with the batch size of its published point, and the longest training of its space."""
    batch = plan.space.published.get("train.batch_size")
    given = {"train.epochs": longest(plan.settings, plan.space)}
    return with_values(
        plan.settings, given | ({} if batch is None else {"train.batch_size": batch}), plan.name
    )


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
    """Of an encoder with as few frozen layers as the search may choose: whose training takes most."""
    kind, own = encoder_of(settings.model.encoders[name], plan.module)
    fewest, *more = _frozen_layers(plan, name) or (None,)
    own |= {} if fewest is None else {_FROZEN_LAYERS: fewest}
    try:
        reading = reading_of(kind, own, settings.data.store, sizes, data)
    except UserError as error:
        raise UserError(f"{plan.name}: model.encoders.{name}: {error}") from None
    try:
        with without_numbers():
            others = (
                frozen_part(_outline(kind, own | {_FROZEN_LAYERS: layers}, reading), reading, settings, sizes)
                for layers in more
            )
            kept = tuple(part for part in others if part is not None)
            return replace(_traced(name, kind, own, reading, settings, sizes, plan), other_frozen=kept)
    except UserError as error:
        raise UserError(f"{plan.name}: model.encoders.{name}: {error}") from None
    except Exception as error:  # a kind of the user's own may look at numbers that are not there
        raise outline_failure(name, error) from error


def _frozen_layers(plan: Plan, name: str) -> tuple[int, ...]:
    """The numbers of frozen layers that the search may choose for an encoder, rising; nothing where that is fixed."""
    found: set[int] = set()
    for parameter in plan.space.parameters:
        if parameter.name == f"model.encoders.{name}.{_FROZEN_LAYERS}":
            searched = parameter.distribution
            if isinstance(searched, IntDistribution):
                found.update(range(searched.low, searched.high + 1, searched.step))
            else:
                found.update(extremes(searched))
    return tuple(sorted(found))


def _outline(kind: str, own: Mapping[str, Any], reading: Reading) -> Encoder:
    return as_on_gpu(shape_encoder(kind, own, reading.spec).train())


def _traced(
    name: str,
    kind: str,
    own: Mapping[str, Any],
    reading: Reading,
    settings: Settings,
    sizes: DataSizes,
    plan: Plan,
) -> EncoderForecast:
    encoder = _outline(kind, own, reading)
    part = frozen_part(encoder, reading, settings, sizes)
    batch_of = _batches(encoder, reading, part)
    alone = _trace_encoder(encoder, batch_of, settings)
    heads = {
        pretraining: _head(pretraining, encoder.width, settings, sizes.labels)
        for pretraining in dict.fromkeys(arm.pretraining for arm in plan.arms)
    }
    traced = {of: alone + _trace_head(head, encoder.width, settings) for of, head in heads.items()}
    tuned = _finetuned_model(encoder, settings, sizes.labels)
    all_heads = [*heads.values(), *(() if tuned is None else (tuned.head,))]
    largest = max(all_heads, key=lambda head: State.of(head).total)
    state = State.of(nn.ModuleList([encoder, largest]))
    if encoder.frozen and settings.finetune.head == "label_attention":
        batch_of = reading.batch  # that head looks at all tokens, whose states nobody kept
    finetuned = None if tuned is None else _trace_finetuning(tuned, batch_of, settings)
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
