"""Whether a pretrained model can be read and fits the data, found out without loading its weights."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models.model_files import is_there, read_object
from sdl_study.models.places import find_folder, found_at, why_not_loaded
from sdl_study.models.tokenizer import has_tokenizer, load_tokenizer, tokenizer_identity
from sdl_study.models.weight_files import Shapes, read_shapes

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FIELD = "setting 'name' of encoder 'hub'"

# Their position 0 comes after the padding index: a model of 514 positions reads 512 tokens.
_POSITIONS_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet"}
)
_ANY_SIZE = frozenset(
    {"dinov2", "dinov2_with_registers"}
)  # their table of positions is stretched as it is needed
_VOCABULARIES_ON_HUB = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
_TOKEN_EMBEDDING = re.compile(r"(word_embeddings?|tok_embeddings|embed_tokens|wte)\.weight$")


class Pretrained(Protocol):
    """What names pretrained weights."""

    @property
    def name(self) -> str:
        """Folder, or name on the hub."""
        ...

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit on the hub."""
        ...


def check_pretrained(settings: Pretrained, spec: InputSpec) -> None:
    """Refuse what would fail when the weights are loaded, or in the middle of the first epoch.

    Reads the configuration, the headers of the weights and, for texts, the model's own tokenizer. Of a model that
    has not been downloaded yet, only the configuration is.

    Args:
        settings: folder, or name and revision on the hub.
        spec: the store's examples; ``max_length`` and ``vocab_size`` may be lower bounds, ``tokenizer`` empty.

    Raises:
        UserError: no such model, files that are missing, damaged or not safetensors, code from outside, or a
            vocabulary, tokenizer, length or channel count that does not fit the data.
    """
    config = read_config(settings)
    place = f"{FIELD}: {settings.name!r}"
    _check_form(config, place)
    _check_fit(config, place, spec)
    folder = files_at_hand(settings)
    if folder is not None:
        try:
            shapes = read_shapes(folder)
        except UserError as error:
            raise UserError(f"{FIELD}: {error}") from None
        _check_embedding(config, shapes, place)
    if spec.modality == "text" and spec.tokenizer:
        _check_tokenizer(settings, spec, place)


def read_config(settings: Pretrained) -> PreTrainedConfig:
    """The model's configuration; no code from outside is run, and nothing is asked.

    Raises:
        UserError: there is none, it is damaged, or it is of a model that transformers does not know.
    """
    from transformers import AutoConfig

    from sdl_study.models.backbones.own import register_all

    register_all()
    folder = find_folder(settings.name, FIELD)
    if folder is not None:
        _check_config_file(folder)
    try:
        return AutoConfig.from_pretrained(
            found_at(settings.name, FIELD), trust_remote_code=False, **revision(settings)
        )
    except Exception as error:  # noqa: BLE001 (a foreign file may make its reader raise anything; it holds no data)
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{FIELD}: {settings.name!r} needs code of its own, which is not run; choose a model that transformers "
                "knows"
            ) from None
        raise UserError(
            f"{FIELD}: cannot load {settings.name!r}: {why_not_loaded(error, settings.name)}"
        ) from None


def revision(settings: Pretrained) -> dict[str, Any]:
    """The revision as transformers' functions take it."""
    return {"revision": settings.revision} if settings.revision else {}


def _check_config_file(folder: Path) -> None:
    file = folder / "config.json"
    try:
        if is_there(file):
            read_object(file)
        else:
            read_shapes(folder)  # an adapter, or an empty folder, says more than that there is no config.json
            raise UserError(f"{folder}: has no config.json; download the model again")
    except UserError as error:
        raise UserError(f"{FIELD}: cannot load {error}") from None


def files_at_hand(settings: Pretrained) -> Path | None:
    """The folder of a model's files: its own, or that of the hub's cache; None if they are yet to be downloaded."""
    folder = find_folder(settings.name, FIELD)
    if folder is not None:
        return folder
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(settings.name, "config.json", **revision(settings))
    if not isinstance(found, str):
        return None
    snapshot = Path(found).parent
    whole = any((snapshot / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))
    return snapshot if whole or constants.HF_HUB_OFFLINE else None


def _check_form(config: PreTrainedConfig, place: str) -> None:
    """Refuse what is no encoder of one kind of input with weights as they are trained."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    if config.is_encoder_decoder or config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{place} is encoder and decoder ({config.model_type}); choose a model that is one of them"
        )
    parts = [name for name in ("text_config", "vision_config", "audio_config") if hasattr(config, name)]
    if len(parts) > 1:
        kinds = " and ".join(name.removesuffix("_config") for name in parts)
        raise UserError(f"{place} reads {kinds} together; choose a model of one of them")
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(f"{place} holds quantised weights, which are not trained; choose the full ones")
    output_width(config, place)


def output_width(config: PreTrainedConfig, place: str) -> int:
    """Width of the last hidden state: one number for transformers, the last stage's for convolutional models.

    Raises:
        UserError: the configuration does not tell it.
    """
    sizes = getattr(config, "hidden_sizes", None)
    width = sizes[-1] if sizes else getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise UserError(f"{place} tells no hidden size; choose another model")
    return width


def _check_fit(config: PreTrainedConfig, place: str, spec: InputSpec) -> None:
    vocabulary = getattr(config, "vocab_size", None)
    if spec.modality == "image":
        _check_image_fit(config, place, spec)
        return
    if vocabulary is None:
        raise UserError(f"{place} is no text encoder (it has no vocabulary)")
    if vocabulary < spec.vocab_size:
        raise UserError(
            f"{place} knows {vocabulary} tokens, the store's tokenizer {spec.vocab_size};"
            " take the tokenizer that it was trained with"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < 1:
        positions = None  # XLNet's way to say that there is no end
    if positions is not None and config.model_type in _POSITIONS_AFTER_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    if positions is not None and positions < spec.max_length:
        raise UserError(
            f"{place} reads {positions} tokens, the store gives {spec.max_length}; lower its max_length or "
            "data.store.max_length"
        )


def _check_image_fit(config: PreTrainedConfig, place: str, spec: InputSpec) -> None:
    channels = getattr(config, "num_channels", None)
    if channels is None and getattr(config, "vocab_size", None) is not None:
        raise UserError(f"{place} is no image encoder (it has a vocabulary)")
    if channels is not None and channels != spec.channels:
        raise UserError(f"{place} reads {channels} channels, the images have {spec.channels}")
    size, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if config.model_type in _ANY_SIZE and isinstance(patch, int):
        if spec.image_size % patch:
            raise UserError(
                f"{place} reads images of a multiple of {patch} pixels, the store gives {spec.image_size}; change "
                "image_size"
            )
        return
    if patch is not None and size is not None and size != spec.image_size:
        raise UserError(f"{place} reads images of side {size}, the store gives {spec.image_size}")


def _check_embedding(config: PreTrainedConfig, shapes: Shapes, place: str) -> None:
    """The table of tokens has the rows that the configuration speaks of."""
    rows = [shape[0] for name, shape in shapes.items() if _TOKEN_EMBEDDING.search(name) and len(shape) == 2]
    vocabulary = getattr(config, "vocab_size", None)
    if rows and vocabulary is not None and vocabulary not in rows:
        raise UserError(
            f"{place}: its config.json speaks of {vocabulary} tokens, its weights hold {rows[0]}; download it again"
        )


def _check_tokenizer(settings: Pretrained, spec: InputSpec, place: str) -> None:
    """The store was made by the model's own tokenizer: other ids are other words, however few there are."""
    folder = find_folder(settings.name, FIELD)
    if folder is None:
        own = _identity_on_hub(settings.name, settings.revision)
    else:
        files = sorted((path.name, path.lstat().st_mtime_ns) for path in folder.iterdir())
        own = _identity_in(folder.resolve(), tuple(files))
    if own is None:
        raise UserError(
            f"{place} has no tokenizer at hand by which to tell whether the tokens are its own; put the model's "
            "tokenizer beside it with save_pretrained"
        )
    if own != spec.tokenizer:
        raise UserError(
            f"{place} has a tokenizer that reads texts in another way than the store's; give its own: "
            f"data.store.tokenizer=pretrained, data.store.name={settings.name}"
        )


@lru_cache(maxsize=16)
def _identity_in(folder: Path, files: tuple[tuple[str, int], ...]) -> str | None:  # noqa: ARG001 (part of the key)
    """Identity of a folder's tokenizer; kept while its files are the same, as every job of a worker asks for it."""
    return tokenizer_identity(load_tokenizer(str(folder), FIELD).backend) if has_tokenizer(folder) else None


@lru_cache(maxsize=16)
def _identity_on_hub(name: str, revision: str | None) -> str | None:
    """Identity of a hub model's tokenizer; None where it has none, or its files are out of reach."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    for file in _VOCABULARIES_ON_HUB:
        try:
            hf_hub_download(name, file, revision=revision)
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise UserError(f"{FIELD}: {file} of {name!r}: {why_not_loaded(error, name)}") from None
        return tokenizer_identity(load_tokenizer(name, FIELD, revision).backend)
    return None
