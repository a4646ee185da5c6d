"""Settings of every kind of encoder, checked without importing torch or transformers.

The configuration uses these classes to refuse a bad setting before anything starts; the builders in
``sdl_study.models.encoders`` read the checked object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sdl_study.errors import UserError
from sdl_study.models.spec import Modality

TextPooling = Literal["mean", "cls", "last"]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Size = Annotated[int, Field(ge=1, strict=True)]


def _sizes_from_text(value: object) -> object:
    """A search space and a command line write a list of sizes as one word: "16-32-64"."""
    if isinstance(value, str):
        parts = value.replace(",", "-").split("-")
        return tuple(int(part) if part.strip().isdigit() else part for part in parts)
    return value


Sizes = Annotated[tuple[Size, ...], BeforeValidator(_sizes_from_text), Field(min_length=1)]


class EncoderSettings(BaseModel):
    """What all kinds share: unknown names are refused, values never change after the check."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    modalities: ClassVar[tuple[Modality, ...]]


class ConvSettings(EncoderSettings):
    """Word-level convolutional text encoder: embedding, residual 1-D convolutions, pooling over tokens."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    width: Size = 64
    kernel: Size = 5
    layers: Size = 1
    dropout: Probability = 0.0
    pooling: TextPooling = "mean"

    @model_validator(mode="after")
    def _odd_kernel(self) -> ConvSettings:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that tokens stay aligned, not {self.kernel}")
        return self


class BertSettings(EncoderSettings):
    """BERT from a configuration, untrained. ``intermediate`` 0 means four times the width."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    width: Size = 64
    layers: Size = 1
    heads: Size = 4
    intermediate: Annotated[int, Field(ge=0, strict=True)] = 0
    dropout: Probability = 0.1
    pooling: TextPooling = "mean"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> BertSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class ResNetSettings(EncoderSettings):
    """ResNet from a configuration, untrained; plain batch normalisation is replaced as ``norm`` says.

    ``stem`` "imagenet" is a 7x7 convolution of stride 2 and a max-pool (a quarter of the side is left),
    "cifar" a 3x3 convolution that keeps the size. ``groups`` counts only with ``norm`` "group".
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    widths: Sizes = (16, 32, 64, 128)
    depths: Sizes = (1, 1, 1, 1)
    block: Literal["basic", "bottleneck"] = "basic"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    norm: Literal["group", "sync", "frozen"] = "group"
    groups: Size = 8

    @model_validator(mode="after")
    def _consistent(self) -> ResNetSettings:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths names {len(self.widths)} stages and depths {len(self.depths)}")
        uneven = [width for width in self.widths if width % 4]
        if self.block == "bottleneck" and uneven:
            raise ValueError(f"widths of bottleneck blocks must be multiples of 4, not {uneven[0]}")
        return self


class MlpSettings(EncoderSettings):
    """Multi-layer perceptron over numeric features, which it standardises itself (global batch
    statistics)."""

    modalities: ClassVar[tuple[Modality, ...]] = ("features",)
    width: Size = 128
    layers: Size = 2
    dropout: Probability = 0.0


class HubSettings(EncoderSettings):
    """Pretrained weights of a Hugging Face name or folder (safetensors only, no remote code).

    ``freeze`` keeps the weights; ``norm`` says what becomes of its batch-normalisation layers, if it has any.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    name: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    freeze: bool = False
    pooling: TextPooling = "mean"
    norm: Literal["sync", "frozen"] = "frozen"


ENCODER_SETTINGS: Mapping[str, type[EncoderSettings]] = {
    "conv": ConvSettings,
    "bert": BertSettings,
    "resnet": ResNetSettings,
    "mlp": MlpSettings,
    "hub": HubSettings,
}


def _settings_class(kind: str) -> type[EncoderSettings]:
    if kind not in ENCODER_SETTINGS:
        raise UserError(f"unknown encoder {kind!r}; choose from {', '.join(ENCODER_SETTINGS)}")
    return ENCODER_SETTINGS[kind]


def encoder_settings(kind: str) -> frozenset[str]:
    """Names of the settings that an encoder kind takes.

    Raises:
        UserError: the kind is unknown.
    """
    return frozenset(_settings_class(kind).model_fields)


def parse_encoder_settings(kind: str, settings: Mapping[str, object]) -> EncoderSettings:
    """Check the settings of one encoder kind.

    Raises:
        UserError: unknown kind, unknown setting or a value that is out of range; names the setting and
        choices.
    """
    settings_class = _settings_class(kind)
    try:
        return settings_class.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(settings_class.model_fields))
            raise UserError(f"encoder {kind!r} has no setting {name!r}; choose from {known}") from None
        if first["type"] == "missing":
            raise UserError(f"encoder {kind!r} needs the setting {name!r}") from None
        message = first["msg"].removeprefix("Value error, ")
        place = f"setting {name!r} of encoder {kind!r}" if name else f"settings of encoder {kind!r}"
        value = f", not {first['input']!r}" if name else ""
        raise UserError(f"{place}: {message}{value}") from None
