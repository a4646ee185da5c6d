"""Word-level convolutional text encoder: embedding, residual 1-D convolutions, pooling over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import model_validator

from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Probability, Size, TextPooling

if TYPE_CHECKING:
    from sdl_study.models.backbones.conv import ConvModel


class Settings(EncoderSettings):
    """Sizes; the kernel is odd, so that tokens stay aligned."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    width: Size = 64
    kernel: Size = 5
    layers: Size = 1
    dropout: Probability = 0.0
    pooling: TextPooling = "mean"

    @model_validator(mode="after")
    def _odd_kernel(self) -> Settings:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that tokens stay aligned, not {self.kernel}")
        return self


def build(settings: Settings, spec: InputSpec) -> tuple[ConvModel, int]:
    """The untrained model and its output width."""
    from sdl_study.models.backbones.conv import ConvConfig, ConvModel

    config = ConvConfig(
        vocab_size=spec.vocab_size,
        pad_token_id=spec.pad_token_id,
        hidden_size=settings.width,
        kernel_size=settings.kernel,
        num_hidden_layers=settings.layers,
        dropout=settings.dropout,
    )
    return ConvModel(config), settings.width
