"""ResNet from a configuration, untrained; its plain batch normalisation is replaced.

Source: He et al. 2016, Deep Residual Learning, arXiv 1512.03385; the implementation is that of transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models.settings import EncoderSettings, Size, Sizes

if TYPE_CHECKING:
    from sdl_study.models.backbones.resnet import NormResNetModel


class Settings(EncoderSettings):
    """Sizes and normalisation.

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
    def _consistent(self) -> Settings:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths names {len(self.widths)} stages and depths {len(self.depths)}")
        uneven = [width for width in self.widths if width % 4]
        if self.block == "bottleneck" and uneven:
            raise ValueError(f"widths of bottleneck blocks must be multiples of 4, not {uneven[0]}")
        return self


def build(settings: Settings, spec: InputSpec) -> tuple[NormResNetModel, int]:
    """The untrained model and the width of its last stage."""
    from sdl_study.models.backbones.resnet import NormResNetConfig, NormResNetModel

    config = NormResNetConfig(
        num_channels=spec.channels,
        embedding_size=settings.widths[0],
        hidden_sizes=list(settings.widths),
        depths=list(settings.depths),
        layer_type=settings.block,
        norm=settings.norm,
        norm_groups=settings.groups,
        stem=settings.stem,
    )
    return NormResNetModel(config), settings.widths[-1]
