"""The store that fits a data set's modality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Int64

    from sdl_study.data.prepared import Modality, PreparedData
    from sdl_study.input_spec import InputSpec


class Store(Protocol):
    """What training needs of a store."""

    path: Path
    spec: InputSpec

    def __len__(self) -> int: ...

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """Inputs of the examples ``rows``, as the encoder takes them."""
        ...

    def save_processor(self, folder: Path) -> None:
        """Write what makes such inputs into an encoder's folder: tokenizer or image processor in Hugging Face's form,
        and ``inputs.json``, which says the same of all of them in plain values."""
        ...


def check_store_settings(modality: Modality, settings: Mapping[str, Any]) -> None:
    """Refuse settings that the modality's store does not know, before anything is built.

    Raises:
        UserError: naming the field ``data.store.NAME``.
    """
    from sdl_study.data.cache import parse_settings

    if modality == "text":
        from sdl_study.data.tokens import TokenSettings

        parse_settings(TokenSettings, settings)
    elif modality == "image":
        from sdl_study.data.images import ImageSettings

        parse_settings(ImageSettings, settings)
    else:
        from sdl_study.data.features import FeatureSettings

        parse_settings(FeatureSettings, settings)


def expected_spec(prepared: PreparedData, settings: Mapping[str, Any]) -> InputSpec:
    """What is known of the store's examples before it is built; numbers of tokens are lower bounds.

    Raises:
        UserError: unusable settings, or a published tokenizer that cannot be read or does not fit the texts.
    """
    from sdl_study.data.cache import parse_settings
    from sdl_study.input_spec import InputSpec

    if prepared.manifest.modality == "text":
        from sdl_study.data.tokens import expected_text_spec

        return expected_text_spec(prepared, settings)
    if prepared.manifest.modality == "image":
        from sdl_study.data.images import ImageSettings

        return InputSpec.image(channels=3, image_size=parse_settings(ImageSettings, settings).image_size)
    return InputSpec.features(width=int(prepared.features().shape[1]))


def open_store(prepared: PreparedData, settings: Mapping[str, Any], cache_dir: Path) -> Store:
    """Token, image or feature store of ``prepared``, built under ``cache_dir`` if it is not there.

    Raises:
        UserError: as the store's own function.
    """
    if prepared.manifest.modality == "text":
        from sdl_study.data.tokens import open_token_store

        return open_token_store(prepared, settings, cache_dir)
    if prepared.manifest.modality == "image":
        from sdl_study.data.images import open_image_store

        return open_image_store(prepared, settings, cache_dir)
    from sdl_study.data.features import open_feature_store

    return open_feature_store(prepared, settings, cache_dir)
