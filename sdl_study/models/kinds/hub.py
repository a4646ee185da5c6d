"""Pretrained encoders of the Hugging Face hub or of a folder: safetensors only, no code from outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Names, Size, TextPooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_ATTENTION_DROPOUT = (
    "attention_probs_dropout_prob",
    "attention_dropout",
    "attn_pdrop",
)  # as families call it


class Settings(EncoderSettings):
    """Pretrained weights of a Hugging Face name or folder.

    ``freeze`` keeps all weights, ``frozen_layers`` those of the embeddings and of the lowest layers (stages of a
    convolutional model); ``norm`` says what becomes of its batch-normalisation layers, if it has any. Weights of half
    precision are trained in float32.

    The name is a folder's, one of the hub's, or ``minilm``, which the extra ``pretrained`` installs. Texts are read by
    the model's own tokenizer, in ``max_chunks`` chunks of ``max_length`` tokens, images as the model's own processor
    prepares them, at ``image_size``; what is not given here is as the store or the processor has it.

    A ``lora_rank`` above 0 trains low-rank adapters of the linear layers (``lora_targets``: all of those that are not
    frozen, or some by their names, "q_proj,v_proj") in the place of the weights, scaled by ``lora_alpha`` over the rank
    (twice the rank by default); they are saved merged into the weights. ``attention_dropout`` replaces the model's own:
    with 0 a CPU computes attention in a fused kernel, twice as fast. ``checkpointing`` computes the states inside of
    layers again in the backward pass in order to save memory. ``pretrained_on`` names the sources that the model has
    read already ("mimic-iii"), where its name does not tell.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    max_length: Size | None = None
    max_chunks: Size | None = None
    image_size: Size | None = None
    freeze: bool = False
    frozen_layers: Annotated[int, Field(ge=0, strict=True)] = 0
    pooling: TextPooling = "mean"
    norm: Literal["sync", "frozen"] = "frozen"
    lora_rank: Annotated[int, Field(ge=0, strict=True)] = 0
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    lora_targets: Annotated[str, Field(min_length=1)] = "all-linear"
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    checkpointing: bool = False
    pretrained_on: Names = ()

    @model_validator(mode="after")
    def _something_is_trained(self) -> Settings:
        if self.freeze and self.lora_rank:
            raise ValueError("freeze leaves nothing that lora_rank could train; take one of them")
        return self

    @property
    def published_weights(self) -> bool:
        """Always."""
        return True

    def located(self) -> dict[str, object]:
        """The name, where it is that of a folder."""
        return {"name": str(Path(self.name).absolute())} if Path(self.name).is_dir() else {}


def check(settings: Settings, spec: InputSpec) -> None:
    """Refuse what cannot be loaded or does not fit the data, from configuration and headers.

    Raises:
        UserError: as ``check_pretrained``.
    """
    from sdl_study.models.pretrained import check_pretrained, read_config
    from sdl_study.models.skeleton import check_whole

    check_pretrained(settings, spec)
    _configured(read_config(settings), settings)
    check_whole(settings, spec)


def reads(settings: Settings) -> dict[str, Any]:
    """Settings of the store for the model's own tokenizer, or its own size and normalisation of images.

    Raises:
        UserError: as ``reading_of``.
    """
    from sdl_study.models.readings import reading_of

    return reading_of(settings)


def load(settings: Settings, spec: InputSpec, folder: Path) -> tuple[PreTrainedModel, int]:
    """The model that was saved in a folder, with its output width."""
    here = settings.model_copy(update={"name": str(folder), "revision": None})
    check(
        here, replace(spec, tokenizer="")
    )  # it was told when it was trained, and does not lie in the folder
    return build(here, spec)


def build(settings: Settings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """The model with its weights in float32, and its output width.

    Raises:
        UserError: it cannot be loaded, is no encoder of such inputs, or lacks weights that count.
    """
    import torch

    from sdl_study.models.norm import replace_batch_norm
    from sdl_study.models.places import why_not_loaded
    from sdl_study.models.pretrained import FIELD, output_width, read_config
    from sdl_study.models.skeleton import check_lacking

    config = _configured(read_config(settings), settings)
    place = f"{FIELD}: {settings.name!r}"
    try:
        model, missing = _load(settings, config)
        model.config.use_cache = False  # nothing is generated, and what decoders would keep takes memory
        replace_batch_norm(model, settings.norm)
        used = _freeze_unused(model, spec)
        if settings.checkpointing:
            _compute_again(model)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (
        Exception
    ) as error:  # foreign weights may make their reader raise anything; its words tell of no data
        raise UserError(
            f"{FIELD}: cannot load {settings.name!r}: {why_not_loaded(error, settings.name)}"
        ) from error
    check_lacking(missing & used, place)
    if settings.lora_rank:
        _adapt(model, settings, used)
    return model, output_width(config, place)


def _configured(config: Any, settings: Settings) -> Any:
    """The model's configuration with what the settings change of it.

    Raises:
        UserError: the model has no such thing.
    """
    if settings.attention_dropout is not None:
        names = [name for name in _ATTENTION_DROPOUT if hasattr(config, name)]
        if not names:
            raise UserError(
                f"setting 'attention_dropout' of encoder 'hub': {settings.name!r} has no attention dropout that its "
                "configuration names; leave it out, or set it to null"
            )
        for name in names:
            setattr(config, name, settings.attention_dropout)
    return config


def _adapt(model: PreTrainedModel, settings: Settings, used: set[str]) -> None:
    """Adapters above the frozen layers."""
    from sdl_study.models.adapters import add_lora
    from sdl_study.models.layers import Layers

    layers, frozen = Layers.of(model), settings.frozen_layers
    above = used if layers is None else {n for n in used if not frozen or layers.depth_of(n) > frozen}
    alpha = settings.lora_alpha or 2.0 * settings.lora_rank
    add_lora(model, settings.lora_rank, alpha, settings.lora_targets, above, repr(settings.name))


def _compute_again(model: PreTrainedModel) -> None:
    """Let layers compute their inner states again in the backward pass."""
    newer = getattr(model, "activation_checkpointing_enable", None)
    enable = model.gradient_checkpointing_enable if newer is None else newer
    enable({"use_reentrant": False})


def _load(settings: Settings, config: Any) -> tuple[PreTrainedModel, set[str]]:
    """The model, and the names of those parameters that its file does not hold."""
    import torch
    from transformers import AutoModel

    from sdl_study.models.backbones.own import quiet
    from sdl_study.models.places import found_at
    from sdl_study.models.pretrained import FIELD, revision

    with quiet():
        model, info = AutoModel.from_pretrained(
            found_at(settings.name, FIELD),
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **revision(settings),
        )
    return model, set(info["missing_keys"]) & {name for name, _ in model.named_parameters()}


def _freeze_unused(model: PreTrainedModel, spec: InputSpec) -> set[str]:
    """Freeze the parameters that the hidden states do not depend on (a pooler, a mask token).

    Returns:
        Names of the other ones.

    Data-parallel training would wait for their gradient for ever.
    """
    from sdl_study.models.frozen import example_inputs
    from sdl_study.models.layers import reached_by

    inputs = example_inputs(spec, next(model.parameters()).device)
    used = reached_by(model, lambda: model(**inputs).last_hidden_state)
    for name, parameter in model.named_parameters():
        if name not in used:
            parameter.requires_grad_(False)
    return used


def outline(settings: Settings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """The untrained model of that configuration, and its output width; without the hub, of the sizes that are known.

    Raises:
        UserError: the configuration is out of reach, and none that the project knows.
    """
    from transformers import AutoModel

    from sdl_study.models.known import config_or_known
    from sdl_study.models.norm import replace_batch_norm
    from sdl_study.models.pretrained import FIELD, output_width

    config = _configured(config_or_known(settings), settings)
    model = AutoModel.from_config(config)
    replace_batch_norm(model, settings.norm)
    used = _freeze_unused(model, spec)
    if settings.checkpointing:
        _compute_again(model)
    if settings.lora_rank:
        _adapt(model, settings, used)
    return model, output_width(config, f"{FIELD}: {settings.name!r}")
