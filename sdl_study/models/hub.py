"""Pretrained encoders of the Hugging Face hub or of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdl_study.errors import UserError
from sdl_study.models.norm import replace_batch_norm

# Their position 0 comes after the padding index: a model of 514 positions reads 512 tokens.
_POSITIONS_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet"}
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from sdl_study.models.settings import HubSettings
    from sdl_study.models.spec import InputSpec


def load_pretrained(settings: HubSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """Load weights (safetensors only, no code from outside) and give the model with its output width.

    Raises:
        UserError: no such model, no safetensors, or a vocabulary, length or channel count that does not fit
            the data.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    import sdl_study.models.backbones  # noqa: F401  registers the own model types

    disable_progress_bar()  # its lines would mix with the study's own
    where = {"revision": settings.revision} if settings.revision else {}
    try:
        config = AutoConfig.from_pretrained(settings.name, **where)
        _check_fit(config, settings, spec)
        model = AutoModel.from_pretrained(settings.name, config=config, use_safetensors=True, **where)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"setting 'name' of encoder 'hub': cannot load {settings.name!r}: {reason}"
        ) from error
    replace_batch_norm(model, settings.norm)
    _freeze_unused(model, spec)
    return model, _output_width(config, settings.name)


def _output_width(config: PreTrainedConfig, name: str) -> int:
    """Width of the last hidden state: one number for transformers, the last stage's for convolutional
    models."""
    sizes = getattr(config, "hidden_sizes", None)
    width = sizes[-1] if sizes else getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise UserError(
            f"setting 'name' of encoder 'hub': {name!r} tells no hidden size; choose another model"
        )
    return width


def _check_fit(config: PreTrainedConfig, settings: HubSettings, spec: InputSpec) -> None:
    """Refuse what would fail in the middle of the first epoch with an index error."""
    place = f"setting 'name' of encoder 'hub': {settings.name!r}"
    if spec.modality == "image":
        channels = getattr(config, "num_channels", None)
        if channels is not None and channels != spec.channels:
            raise UserError(f"{place} reads {channels} channels, the images have {spec.channels}")
        size = getattr(config, "image_size", None)
        if getattr(config, "patch_size", None) is not None and size is not None and size != spec.image_size:
            raise UserError(f"{place} reads images of side {size}, the store gives {spec.image_size}")
        return
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is None:
        raise UserError(f"{place} is no text encoder (it has no vocabulary)")
    if vocabulary < spec.vocab_size:
        raise UserError(
            f"{place} knows {vocabulary} tokens, the store's tokenizer {spec.vocab_size};"
            " use the model's own tokenizer"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _POSITIONS_AFTER_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    if positions is not None and positions < spec.max_length:
        raise UserError(f"{place} reads {positions} tokens, the store gives {spec.max_length}")


def _freeze_unused(model: PreTrainedModel, spec: InputSpec) -> None:
    """Freeze what the hidden states do not depend on (a pooler, a mask token): data-parallel training would
    wait for its gradient for ever."""
    if spec.modality == "text":
        ids = torch.ones(2, min(spec.max_length, 8), dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"pixel_values": torch.zeros(2, spec.channels, spec.image_size, spec.image_size)}
    was_training = model.training
    with torch.enable_grad():
        hidden = model.eval()(**inputs).last_hidden_state
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(hidden.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)
    model.train(was_training)
