"""Settings of a study: frozen, validated, one error line per mistake with the path of the field.

One source, in this order: the study module's STUDY, then a file, then ``--set path=value``. A searched parameter
is named by the same dotted path as the setting that it replaces (``loss.temperature``), so a trial's settings are
the study's settings with the trial's parameters laid over them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sdl_study.arms import CONTROLS, plain_values
from sdl_study.budget import BudgetSettings
from sdl_study.errors import UserError
from sdl_study.evaluation import metrics
from sdl_study.evaluation.objective import objective_key
from sdl_study.mistakes import mistakes, one_of
from sdl_study.stages import FINETUNE, PROBE, FinetuneSettings, ProbeSettings, Section, Stage

OBJECTIVES = tuple(f"dev/{key}" for key in metrics.OBJECTIVES)
PRIMARY_METRICS = tuple(f"test/{key}" for key in metrics.PRIMARY_METRICS)
Objective = Annotated[str, one_of(OBJECTIVES)]
PrimaryMetric = Annotated[str, one_of(PRIMARY_METRICS)]
Control = Annotated[str, one_of(CONTROLS)]
# What differs between the trials of a study; all else is the study's own and the same for all of them.
SEARCHABLE = (
    "loss.", "model.encoder", "model.encoders.", "model.projection.", "probe.", "train.batch_size",
    "train.learning_rate", "train.weight_decay", "train.warmup_fraction", "train.gradient_clip", "train.label_aware",
    "train.head_learning_rate", "train.layer_decay", "train.augment", "train.joint_weight", "train.epochs",
)  # fmt: skip


class DataSettings(Section):
    """Which prepared data set a study uses.

    ``pipeline`` is a module with ``prepare(name, out)``, called by name; without it ``path`` is the folder of a
    data set that a pipeline prepared before.
    """

    name: str = ""
    pipeline: str | None = None
    path: str | None = None
    store: dict[str, Any] = Field(default_factory=dict)
    shuffle_train_labels: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> DataSettings:
        if self.pipeline and self.path:
            raise ValueError("give either data.pipeline or data.path, not both")
        return self


class ProjectionSettings(Section):
    """Projection head between encoder and loss; ``norm="batch"`` uses the global batch's statistics."""

    hidden: int = Field(default=128, ge=1)
    features: int = Field(default=64, ge=1)
    norm: Literal["batch", "none"] = "batch"


class ModelSettings(Section):
    """The encoder chosen and the encoders to choose from: name → {"kind": ..., and that kind's settings}."""

    encoder: str
    encoders: dict[str, dict[str, Any]]
    projection: ProjectionSettings = ProjectionSettings()

    @model_validator(mode="after")
    def _encoder_known(self) -> ModelSettings:
        if self.encoder not in self.encoders:
            raise ValueError(f"unknown encoder {self.encoder!r}; this study has {', '.join(self.encoders)}")
        for name, settings in self.encoders.items():
            if "kind" not in settings:
                raise ValueError(f"encoders.{name}.kind is required")
            if not isinstance(settings["kind"], str):
                raise ValueError(f"encoders.{name}.kind is a word, not {settings['kind']!r}")
        return self


class TrainSettings(Section):
    """How a trial trains. ``batch_size`` is the global batch, constant whatever the number of workers.

    An epoch is probed and reported. It passes over train once or, where that shows fewer than ``min_examples`` or makes
    fewer than ``min_steps`` updates in all epochs together, as often as it takes: a small table is trained on for as
    long as a large one. Where the batch is searched, length counts examples, so that arms and batch sizes are compared
    at equal examples seen.

    ``learning_rate`` is the encoder's, and the head's too unless ``head_learning_rate`` gives it its own; with
    ``layer_decay`` below 1 a layer learns by that factor less than the one above it. Norms, biases and embeddings have
    no weight decay; ``decay_all`` decays them too. ``collapse_of`` says on which vectors a collapse is looked for.
    ``augment`` changes images at random every time that they are shown (``training/augment.py``); with ``views`` 2
    every example of a batch is shown in two ways side by side, and counts as one example. ``joint_weight`` is what the
    contrastive loss of an arm that trains jointly counts beside its classification loss.

    A classification head starts with biases that give every label its frequency in train (``head_bias`` "prior";
    "random": as they are drawn): a few hundred steps do not take hundreds of rare labels from a chance of a half to one
    of a thousandth, and the encoder is bent for it. Fine-tuning's head starts alike.

    How it is computed, not what: ``micro_batch`` rows of a worker pass the encoder at once ("auto": as many as fit a
    GPU's memory, all on a CPU; None: all), with the gradient of the whole batch; ``compile`` hands the
    encoder to torch.compile; a checkpoint is written after every epoch and within one every ``checkpoint_minutes`` (0:
    never). What a frozen encoder or its frozen layers give is kept in the study's stores, computed once for all jobs,
    where it takes at most ``frozen_outputs_gib``. Trials of a small encoder leave most of a large GPU idle:
    ``trials_per_gpu`` of them share one, each with its part of the memory. A trial's ``workers`` are on one machine
    where one has as many, with ``spread`` on as many machines as there are.
    """

    epochs: int = Field(ge=1)
    min_examples: int = Field(default=0, ge=0)
    min_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    head_bias: Literal["prior", "random"] = "prior"
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_all: bool = False
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=0.0, ge=0)
    label_aware: float = Field(default=0.0, ge=0, le=1)
    joint_weight: float = Field(default=1.0, gt=0)
    augment: Literal["none", "flip", "standard", "strong"] = "none"
    views: Literal[1, 2] = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = "auto"
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    frozen_outputs_gib: float = Field(default=32.0, ge=0)
    collapse_of: Literal["embeddings", "outputs"] = "embeddings"
    workers: int | None = Field(default=None, ge=1)
    trials_per_group: Literal["all", 1] = "all"
    trials_per_gpu: int = Field(default=1, ge=1, le=64)
    spread: bool = False
    record_batches: bool = False

    @model_validator(mode="after")
    def _not_both(self) -> TrainSettings:
        if self.compile and self.parallel == "fsdp":
            raise ValueError("compile and parallel='fsdp' do not go together; choose one of them")
        return self

    @model_validator(mode="after")
    def _one_worker_shares(self) -> TrainSettings:
        if self.trials_per_gpu > 1 and (self.workers or 1) > 1:
            raise ValueError(
                "trials_per_gpu: trials that share a GPU have one worker each; leave workers out"
            )
        return self

    @model_validator(mode="after")
    def _several_are_spread(self) -> TrainSettings:
        if self.spread and (self.workers or 1) < 2:
            raise ValueError("spread: give train.workers too, at least 2")
        return self

    @field_validator("trials_per_group", mode="before")
    @classmethod
    def _number_in_words(cls, value: object) -> object:
        return 1 if value == "1" else value

    @model_validator(mode="after")
    def _views_differ(self) -> TrainSettings:
        if self.views > 1 and self.augment == "none":
            raise ValueError("views: two views of an example are the same without train.augment")
        return self

    def passes(self, rows: int) -> int:
        """How often an epoch passes over so many rows of train."""
        steps = math.ceil(rows / self.batch_size)
        return max(
            1,
            math.ceil(self.min_examples / (self.epochs * rows)),
            math.ceil(self.min_steps / (self.epochs * steps)),
        )


class Settings(Section):
    """All settings of a study (or of one trial, with its parameters laid over).

    ``loss`` holds what is set for every arm whose loss has such a setting; the losses' own signatures say which
    there are and check the values (``sdl_study.study.losses``).

    An ``objective`` that is a mean over labels is taken over those with at least ``objective_min_positives`` positives
    in dev, unless fewer than half of the labels would remain; 0 counts all.

    Every final ends in each of the ``stages``; the verdict is about ``stage``. Trials are probed whatever the stages.

    The study's folder is brought to ``storage``, too (``s3://bucket/prefix``), and fetched from there.

    Of the ``controls`` those run that the data allow. ``untrained`` and ``frozen`` are one: the method's encoder before
    training, called ``frozen`` where it has published weights.
    """

    seed: int = Field(default=0, ge=0)
    objective: Objective = "dev/map"
    objective_min_positives: int = Field(default=10, ge=0)
    primary_metric: PrimaryMetric = "test/map"
    stages: tuple[Stage, ...] = (PROBE,)
    stage: Stage = PROBE
    controls: tuple[Control, ...] = ("untrained", "label_prior", "tfidf", "raw")
    storage: str | None = None
    data: DataSettings
    model: ModelSettings
    loss: dict[str, Any] = Field(default_factory=dict)
    train: TrainSettings
    probe: ProbeSettings = ProbeSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    budget: BudgetSettings = BudgetSettings()

    @field_validator("loss")
    @classmethod
    def _plain_loss(cls, loss: dict[str, Any]) -> dict[str, Any]:
        try:
            return plain_values(loss, "loss.")
        except TypeError as error:
            raise ValueError(str(error)) from None

    @field_validator("stages")
    @classmethod
    def _known_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if stages not in ((PROBE,), (PROBE, FINETUNE)):
            raise ValueError(
                "write ('probe',) or ('probe', 'finetune'): fine-tuning starts from what was probed"
            )
        return stages

    @model_validator(mode="after")
    def _stage_runs(self) -> Settings:
        if self.stage not in self.stages:
            raise ValueError(f"stage: {self.stage!r} is none of the stages: {', '.join(self.stages)}")
        return self

    @property
    def objective_key(self) -> str:
        """Under which key of an epoch's metrics the value stands that is searched by."""
        return objective_key(self.objective, self.objective_min_positives)


def build_settings(values: Mapping[str, Any], origin: str) -> Settings:
    """Validate nested values into Settings.

    Raises:
        UserError: one line per mistake, each with the path of its field.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise UserError("\n".join(f"{origin}: {line}" for line in mistakes(error))) from None
