"""BERT from a configuration, untrained.

Source: Devlin et al. 2019, BERT, arXiv 1810.04805; the implementation is that of transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Probability, Size, TextPooling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Settings(EncoderSettings):
    """Sizes; ``intermediate`` 0 means four times the width."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    width: Size = 64
    layers: Size = 1
    heads: Size = 4
    intermediate: Annotated[int, Field(ge=0, strict=True)] = 0
    dropout: Probability = 0.1
    pooling: TextPooling = "mean"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Settings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


def build(settings: Settings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    """The untrained model, without its pooler, and its output width."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        "bert",
        vocab_size=spec.vocab_size,
        pad_token_id=spec.pad_token_id,
        max_position_embeddings=spec.max_length,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate or 4 * settings.width,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
    )
    return AutoModel.from_config(config, add_pooling_layer=False), settings.width
