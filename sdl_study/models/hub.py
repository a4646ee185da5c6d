"""Pretrained encoders of the Hugging Face hub or of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.errors import UserError
from sdl_study.models.norm import replace_batch_norm

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

    import sdl_study.models.backbones  # noqa: F401  registers the own model types

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
    return model, _output_width(config, settings.name)


def _output_width(config: PreTrainedConfig, name: str) -> int:
    """Width of the last hidden state: one number for transformers, the last stage's for convolutional models."""
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
    if positions is not None and positions < spec.max_length:
        raise UserError(f"{place} reads {positions} tokens, the store gives {spec.max_length}")
