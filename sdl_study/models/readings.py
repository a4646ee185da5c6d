"""How a pretrained model's inputs are made: by its own tokenizer, or at its own size and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sdl_study.errors import UserError
from sdl_study.models.model_files import is_there, read_object
from sdl_study.models.places import find_folder, why_not_loaded
from sdl_study.models.pretrained import FIELD, Pretrained, read_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# What an image processor's class scales to a size that is one number; the others make it the side of a square.
_SHORTER_SIDE = ("ConvNext", "Bit", "CLIP", "Dino", "ResNet", "RegNet", "PoolFormer", "Levit")
_INTERPOLATIONS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_STORE_INTERPOLATION = "bicubic"  # of a store that is told nothing
_CONVNEXT_CROP, _CONVNEXT_WHOLE = 224 / 256, 384


class Readable(Pretrained, Protocol):
    """What names a pretrained model and what its inputs are to be."""

    @property
    def max_length(self) -> int | None:
        """Tokens of a chunk."""
        ...

    @property
    def max_chunks(self) -> int | None:
        """Chunks of a text."""
        ...

    @property
    def image_size(self) -> int | None:
        """Pixels of a side."""
        ...


def reading_of(settings: Readable) -> dict[str, Any]:
    """Settings of the store whose examples a model reads as it was trained to.

    Returns:
        For a text model ``tokenizer`` and ``name``, with ``revision``, ``max_length`` and ``max_chunks`` where the
        settings give them. For an image model ``image_size``, ``resize``, ``crop_pct``, ``interpolation``, ``mean``
        and ``std`` as far as its processor's file, its configuration or the settings tell them.

    Raises:
        UserError: no such model, damaged files, a setting for another modality, or a processor that the store cannot
            follow.
    """
    config = read_config(settings)
    text = _is_text(config)
    for name in ("image_size",) if text else ("max_length", "max_chunks"):
        if getattr(settings, name) is not None:
            what = "texts" if text else "images"
            raise UserError(
                f"setting {name!r} of encoder 'hub': {settings.name!r} reads {what}; leave it out"
            )
    if not text:
        return _image_reading(settings, config)
    given = {name: getattr(settings, name) for name in ("revision", "max_length", "max_chunks")}
    return {
        "tokenizer": "pretrained",
        "name": settings.name,
        **{name: value for name, value in given.items() if value is not None},
    }


def _is_text(config: PreTrainedConfig) -> bool:
    return getattr(config, "vocab_size", None) is not None and getattr(config, "num_channels", None) is None


def _image_reading(settings: Readable, config: PreTrainedConfig) -> dict[str, Any]:
    processor = _processor(settings)
    side = getattr(config, "image_size", None)
    reading = {} if processor is None else _processed(processor, f"{FIELD}: {settings.name!r}")
    if "image_size" not in reading and isinstance(side, int):
        reading["image_size"] = side
    if settings.image_size is not None:
        reading["image_size"] = settings.image_size
    return reading


def _processor(settings: Pretrained) -> dict[str, Any] | None:
    """Content of the file that says how images are prepared; None where the model has none.

    Raises:
        UserError: it is damaged, or out of reach.
    """
    folder = find_folder(settings.name, FIELD)
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = _on_hub(settings, name) if folder is None else folder / name
        if file is None or not is_there(file):
            continue
        try:
            content = read_object(file)
        except UserError as error:
            raise UserError(f"{FIELD}: {error}") from None
        found = content.get("image_processor", content)
        if isinstance(found, dict) and "image_mean" in found:
            return found
    return None


def _on_hub(settings: Pretrained, name: str) -> Path | None:
    """A file of a model of the hub, downloaded if need be; None where the model has no such file."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(settings.name, name, revision=settings.revision)
    if cached is not None:
        return Path(cached) if isinstance(cached, str) else None
    try:
        return Path(hf_hub_download(settings.name, name, revision=settings.revision))
    except LocalEntryNotFoundError:
        raise UserError(
            f"{FIELD}: {name} of {settings.name!r}, which says how images are prepared, is out of reach; download the "
            "whole model, or give mean, std and image_size in data.store"
        ) from None
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise UserError(
            f"{FIELD}: {name} of {settings.name!r}: {why_not_loaded(error, settings.name)}"
        ) from None


def _processed(processor: dict[str, Any], place: str) -> dict[str, Any]:
    """The store's settings from a processor's: size, cut, scaling and normalisation."""
    reading: dict[str, Any] = {}
    try:
        reading |= _size(processor)
        resample = int(processor.get("resample", 2))
        if resample not in _INTERPOLATIONS:
            raise UserError(
                f"{place}: its processor scales images in a way (resample {resample}) that the store does not know; "
                "choose another model"
            )
        if _INTERPOLATIONS[resample] != _STORE_INTERPOLATION:
            reading["interpolation"] = _INTERPOLATIONS[resample]
        return reading | _normalisation(processor)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, AttributeError):
        raise UserError(
            f"{place}: its preprocessor_config.json does not say how images are prepared; download it again"
        ) from None


def _size(processor: dict[str, Any]) -> dict[str, Any]:
    """Side of the images, and how much of them is kept."""
    kind = str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
    size, crop = processor.get("size"), processor.get("crop_size")
    if size is None:
        return {}
    if isinstance(size, int):
        size = {"shortest_edge": size} if kind.startswith(_SHORTER_SIDE) else {"height": size}
    shorter = size.get("shortest_edge")
    if shorter is None:
        side = int(size["height"])
    else:
        side = int(shorter)
        if "crop_pct" in processor or kind.startswith("ConvNext"):
            if side >= _CONVNEXT_WHOLE:
                return {"image_size": side, "resize": "squash"}
            crop, shorter = side, int(side / (processor.get("crop_pct") or _CONVNEXT_CROP))
        elif not processor.get("do_center_crop", crop is not None):
            crop = side  # the store's images are square
    if isinstance(crop, dict):
        crop = crop["height"]
    if crop is None or (shorter is None and not processor.get("do_center_crop")):
        return {"image_size": side, "resize": "squash"}
    whole = int(shorter) if shorter is not None else side
    cut = {"image_size": int(crop), "resize": "crop"}
    return cut | ({"crop_pct": int(crop) / whole} if int(crop) < whole else {})


def _normalisation(processor: dict[str, Any]) -> dict[str, Any]:
    """Mean and deviation of pixels in [0, 1]; a processor may have its own factor, and an offset."""
    factor = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
    offset = 1.0 if processor.get("rescale_offset") or processor.get("offset") else 0.0
    mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    if processor.get("do_normalize", True):
        mean, std = (list(map(float, processor[name])) for name in ("image_mean", "image_std"))
    if abs(factor * 255 - 1) < 1e-6 and not offset:
        return {"mean": mean, "std": std}
    scale = 255 * factor
    return {
        "mean": [(value + offset) / scale for value in mean],
        "std": [value / scale for value in std],
    }
