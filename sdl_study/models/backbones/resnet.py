"""Transformers' ResNet with another normalisation."""

from __future__ import annotations

from torch import nn
from transformers import ResNetConfig, ResNetModel

from sdl_study.models.backbones.own import register
from sdl_study.models.norm import replace_batch_norm


class NormResNetConfig(ResNetConfig):
    """A ResNet whose batch normalisation is replaced, and whose stem may keep small pictures' size."""

    model_type = "sdl_resnet"
    norm: str = "group"
    norm_groups: int = 8
    stem: str = "imagenet"


class NormResNetModel(ResNetModel):
    """Transformers' ResNet with another normalisation; nothing else differs."""

    config: NormResNetConfig
    config_class = NormResNetConfig

    def __init__(self, config: NormResNetConfig) -> None:
        super().__init__(config)
        if config.stem == "cifar":
            self.embedder.embedder.convolution = nn.Conv2d(
                config.num_channels, config.embedding_size, kernel_size=3, padding=1, bias=False
            )
            self.embedder.pooler = nn.MaxPool2d(kernel_size=1)  # keeps every pixel
        replace_batch_norm(self, config.norm, groups=config.norm_groups)
        self.post_init()


register(NormResNetConfig, NormResNetModel)
