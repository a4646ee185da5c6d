"""Pretrained encoders of the Hugging Face hub or of a folder: safetensors only, no code from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, TextPooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Settings(EncoderSettings):
    """Pretrained weights of a Hugging Face name or folder.

    ``freeze`` keeps the weights; ``norm`` says what becomes of its batch-normalisation layers, if it has any.
    Weights of half precision are trained in float32.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    freeze: bool = False
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
    from sdl_study.models.pretrained import check_pretrained

    check_pretrained(settings, spec)


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

    from sdl_study.models.pretrained import revision

    disable_progress_bar()  # its lines would mix with the study's own
    model, info = AutoModel.from_pretrained(
        settings.name,
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
    import torch

    if spec.modality == "text":
        ids = torch.ones(2, min(spec.max_length, 8), dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"pixel_values": torch.zeros(2, spec.channels, spec.image_size, spec.image_size)}
    was_training = model.training
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    with torch.enable_grad():
        hidden = model.eval()(**inputs).last_hidden_state
        gradients = torch.autograd.grad(hidden.sum(), [p for _, p in named], allow_unused=True)
    unused = set()
    for (name, parameter), gradient in zip(named, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)
            unused.add(name)
    model.train(was_training)
    return unused


def outline(settings: Settings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """The untrained model of that configuration, and its output width; without the hub, of the sizes that are known.

    Raises:
        UserError: the configuration is out of reach, and none that the project knows.
    """
    from transformers import AutoModel

    from sdl_study.models.known import known_config
    from sdl_study.models.norm import replace_batch_norm
    from sdl_study.models.pretrained import FIELD, output_width, read_config

    try:
        config = read_config(settings)
    except UserError:
        found = known_config(settings.name)
        if found is None:
            raise
        config = found
    model = AutoModel.from_config(config)
    replace_batch_norm(model, settings.norm)
    _freeze_unused(model, spec)
    return model, output_width(config, f"{FIELD}: {settings.name!r}")
