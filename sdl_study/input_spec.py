"""What an encoder has to know about its input: imports nothing heavy, so that the driver may use it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

Modality = Literal["text", "image", "features"]
INPUTS_FILE = "inputs.json"
"""In an encoder's folder: how a store makes its inputs, in plain values, for those who make them without a store."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape of one example as a store hands it out.

    Text uses ``vocab_size``, ``pad_token_id``, ``max_length`` (tokens per chunk) and ``tokenizer``, images
    ``channels`` and ``image_size`` (pixels of a side), features ``width`` (numbers per example). The others stay
    0 or empty. ``tokenizer`` tells tokenizers apart by what they make of texts; empty where that is not known.
    """

    modality: Modality
    vocab_size: int = 0
    pad_token_id: int = 0
    max_length: int = 0
    channels: int = 0
    image_size: int = 0
    width: int = 0
    tokenizer: str = ""

    def __post_init__(self) -> None:
        needed = {
            "text": ("vocab_size", "max_length"),
            "image": ("channels", "image_size"),
            "features": ("width",),
        }
        if self.modality not in needed:
            raise ValueError(f"modality is {self.modality!r}; choose from {', '.join(get_args(Modality))}")
        for name in needed[self.modality]:
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} of a {self.modality} input must be at least 1, not {getattr(self, name)}"
                )
        if self.modality == "text" and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id {self.pad_token_id} lies outside the vocabulary of {self.vocab_size}"
            )

    @classmethod
    def text(cls, *, vocab_size: int, pad_token_id: int, max_length: int, tokenizer: str = "") -> InputSpec:
        """Tokens: ``input_ids`` and ``attention_mask`` of shape [n, max_length] or [n, chunks, max_length]."""
        return cls(
            "text",
            vocab_size=vocab_size,
            pad_token_id=pad_token_id,
            max_length=max_length,
            tokenizer=tokenizer,
        )

    @classmethod
    def image(cls, *, channels: int, image_size: int) -> InputSpec:
        """Pictures: ``pixel_values`` of shape [n, channels, image_size, image_size]."""
        return cls("image", channels=channels, image_size=image_size)

    @classmethod
    def features(cls, *, width: int) -> InputSpec:
        """Numbers: ``features`` of shape [n, width]."""
        return cls("features", width=width)

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON can hold them; ``InputSpec(**d)`` is the inverse."""
        return asdict(self)
