"""Multi-layer perceptron over numeric features, which it standardises itself (global batch statistics)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Probability, Size

if TYPE_CHECKING:
    from sdl_study.models.backbones.mlp import MlpModel


class Settings(EncoderSettings):
    """Sizes."""

    modalities: ClassVar[tuple[Modality, ...]] = ("features",)
    width: Size = 128
    layers: Size = 2
    dropout: Probability = 0.0


def build(settings: Settings, spec: InputSpec) -> tuple[MlpModel, int]:
    """The untrained model and its output width."""
    from sdl_study.models.backbones.mlp import MlpConfig, MlpModel

    config = MlpConfig(
        input_size=spec.width,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        dropout=settings.dropout,
    )
    return MlpModel(config), settings.width
