"""What the encoders of a study read, and how large their stores become, from settings alone or from prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdl_study.data.images import ImageSettings
from sdl_study.data.lengths import sample_lengths
from sdl_study.data.sizes import DataSizes
from sdl_study.data.tokens import TokenSettings
from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import encoder_reads
from sdl_study.models.known import known_config, known_input

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.forecast.trace import Batch


@dataclass(frozen=True)
class Reading:
    """What an encoder reads of an example.

    Attributes:
        spec: its inputs.
        chunks: of a text.
        texts: tokens of a sample of texts as they are kept, special tokens included; empty where nobody measured.
        settings: of the store.
        known: whether they are those of ``known.json``, the model's own being out of reach.
    """

    spec: InputSpec
    chunks: int
    texts: tuple[int, ...]
    settings: Mapping[str, Any]
    known: bool

    def batch(self, rows: int) -> Batch:
        """A batch of the longest examples, all alike."""
        spec = self.spec
        if spec.modality == "image":
            return {"pixel_values": torch.zeros(rows, spec.channels, spec.image_size, spec.image_size)}
        if spec.modality == "features":
            return {"features": torch.zeros(rows, spec.width)}
        shape = (rows, spec.max_length) if self.chunks == 1 else (rows, self.chunks, spec.max_length)
        return {
            "input_ids": torch.ones(shape, dtype=torch.long),
            "attention_mask": torch.ones(shape, dtype=torch.long),
        }

    @property
    def longest(self) -> int:
        """Tokens of the longest text that is read."""
        return self.chunks * self.spec.max_length

    def padded_share(self, rows: int) -> float:
        """Tokens that a batch of so many texts computes, as a share of a batch of the longest; 1 where nobody measured.

        All texts of a batch are padded to the longest among them.
        """
        if not self.texts:
            return 1.0
        lengths = np.sort(np.asarray(self.texts))
        # The distribution of the longest of ``rows`` draws from the sample.
        place = np.arange(1, len(lengths) + 1) / len(lengths)
        chance = np.diff(place**rows, prepend=0.0)
        return float((chance * lengths).sum()) / self.longest

    def bytes_of_store(self, sizes: DataSizes) -> float:
        """Bytes of the store of all examples."""
        spec = self.spec
        if spec.modality == "image":
            return sizes.examples * spec.channels * spec.image_size**2
        if spec.modality == "features":
            return 4 * sizes.examples * spec.width
        tokens = float(np.mean(self.texts)) if self.texts else float(self.longest)
        width = 2 if spec.vocab_size <= np.iinfo(np.uint16).max + 1 else 4
        return width * sizes.examples * tokens


def reading_of(
    kind: str,
    settings: Mapping[str, Any],
    store: Mapping[str, Any],
    sizes: DataSizes,
    data: PreparedData | None,
) -> Reading:
    """What an encoder reads.

    Args:
        kind, settings: of the encoder.
        store: ``data.store`` of the study.
        sizes: of the data.
        data: the data themselves, where they are there: their texts tell how long they are.

    Raises:
        UserError: one line; a model's own configuration is out of reach, and it is none that the project knows.
    """
    found, known = _settings(kind, settings, store)
    if sizes.modality == "features":
        return Reading(InputSpec.features(width=max(1, sizes.features)), 1, (), found, known)
    if sizes.modality == "image":
        side = int(found.get("image_size", ImageSettings.image_size))
        return Reading(InputSpec.image(channels=3, image_size=side), 1, (), found, known)
    return _text_reading(kind, settings, found, known, data)


def _settings(
    kind: str, settings: Mapping[str, Any], store: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Settings of the store, and whether those of a model that is out of reach are taken from the known ones."""
    own = {name: settings[name] for name in ("max_length", "max_chunks", "image_size") if name in settings}
    try:
        return {**store, **encoder_reads(kind, settings), **own}, False
    except UserError:
        if "name" not in settings or known_config(settings["name"]) is None:
            raise
    return {**store, **known_input(settings["name"]), **own}, True


def _text_reading(
    kind: str, settings: Mapping[str, Any], found: Mapping[str, Any], known: bool, data: PreparedData | None
) -> Reading:
    length, chunks = (
        int(found.get(name, getattr(TokenSettings, name))) for name in ("max_length", "max_chunks")
    )
    vocabulary = int(found.get("vocab_size", TokenSettings.vocab_size))
    if kind == "hub":
        vocabulary = _vocabulary(settings)
    texts = (
        ()
        if data is None or (known and "name" not in found)
        else sample_lengths(data, found, length * chunks)
    )
    if texts:  # a store is as wide as its longest text
        chunks = min(chunks, -(-max(texts) // length))
        length = min(length, max(texts)) if chunks == 1 else length
    spec = InputSpec.text(vocab_size=vocabulary, pad_token_id=0, max_length=length)
    return Reading(spec, chunks, texts, found, known)


def _vocabulary(settings: Mapping[str, Any]) -> int:
    from sdl_study.models import parse_encoder_settings
    from sdl_study.models.known import config_or_known
    from sdl_study.models.pretrained import Pretrained

    checked: Pretrained = parse_encoder_settings("hub", settings)  # type: ignore[assignment]
    return int(getattr(config_or_known(checked), "vocab_size", 0) or 1)
