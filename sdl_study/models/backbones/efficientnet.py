"""EfficientNet-Lite0, an image encoder that is small enough for a laptop.

Source: Tan & Le 2019, EfficientNet, arXiv 1905.11946, in the form without squeeze-and-excitation and with ReLU6 that
was made for small devices (``models/official/efficientnet/lite`` of github.com/tensorflow/tpu). Convolutions are
padded as TensorFlow's are, for which the published weights were trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from sdl_study.models.backbones.own import OwnModel, register
from sdl_study.models.norm import GlobalBatchNorm

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

# Of every stage: blocks, kernel, stride of its first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPS = 1e-3


class EfficientNetLiteConfig(PreTrainedConfig):
    """EfficientNet-Lite0, and what its batch normalisation does."""

    model_type = "sdl_efficientnet_lite"
    num_channels: int = 3
    hidden_size: int = 1280
    norm: str = "frozen"


class SameConv(nn.Conv2d):
    """Convolution without bias whose output is the input's size over the stride, rounded up.

    What the padding cannot share evenly between two sides goes to the right and the bottom.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """As the published training code draws them: normal, the variance 2 over the weights that leave a value."""
        leaving = self.kernel_size[0] * self.kernel_size[1] * self.out_channels / self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2 / leaving))

    def forward(self, input: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs h2 w2"]:  # noqa: A002
        x = input
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
            x = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


def _layer(config: EfficientNetLiteConfig, conv: SameConv, bends: bool = True) -> nn.Sequential:
    """A convolution, its normalisation and, where it ``bends``, ReLU6."""
    norm = GlobalBatchNorm(conv.out_channels, eps=_EPS, momentum=0.01, frozen=config.norm == "frozen")
    return nn.Sequential(conv, norm, *([nn.ReLU6(inplace=True)] if bends else []))


class Block(nn.Module):
    """Inverted bottleneck: widen, convolve every channel by itself, narrow; with a short cut where sizes allow it."""

    def __init__(
        self, config: EfficientNetLiteConfig, inputs: int, outputs: int, kernel: int, stride: int, widen: int
    ) -> None:
        super().__init__()
        inner = inputs * widen
        self.expand = _layer(config, SameConv(inputs, inner, 1)) if widen > 1 else None
        self.depthwise = _layer(config, SameConv(inner, inner, kernel, stride, groups=inner))
        self.project = _layer(config, SameConv(inner, outputs, 1), bends=False)
        self.short_cut = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs h2 w2"]:
        inner = x if self.expand is None else self.expand(x)
        result = self.project(self.depthwise(inner))
        return result + x if self.short_cut else result


class EfficientNetLiteModel(OwnModel):
    """Stem, seven stages of inverted bottlenecks and a last 1x1 convolution, without pooling and classifier."""

    config: EfficientNetLiteConfig
    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = _layer(config, SameConv(config.num_channels, _STEM, 3, stride=2))
        width, stages = _STEM, []
        for blocks, kernel, stride, widen, channels in STAGES:
            stage = nn.Sequential()
            for number in range(blocks):
                first = number == 0
                stage.append(Block(config, width, channels, kernel, stride if first else 1, widen))
                width = channels
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.head = _layer(config, SameConv(width, config.hidden_size, 1))
        self.post_init()

    def forward(self, pixel_values: Float[Tensor, "n channels h w"], **_: object) -> BaseModelOutput:
        """Feature map, [n, hidden_size, h / 32, w / 32], rounded up."""
        # Pixel by pixel in memory a CPU convolves one channel at a time more than twice as fast.
        hidden = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            hidden = stage(hidden)
        return BaseModelOutput(last_hidden_state=self.head(hidden))


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of ``EfficientNetLiteModel`` from one as the PyTorch port of the published checkpoint names it.

    The classifier is left out, and the counts of batches, which nothing reads.
    """
    layers = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1"}
    number = 0
    for stage, (blocks, _, _, widen, _) in enumerate(STAGES):
        for place in range(blocks):
            theirs, ours = f"_blocks.{number}", f"stages.{stage}.{place}"
            if widen > 1:
                layers |= {f"{theirs}._expand_conv": f"{ours}.expand.0", f"{theirs}._bn0": f"{ours}.expand.1"}
            layers |= {
                f"{theirs}._depthwise_conv": f"{ours}.depthwise.0",
                f"{theirs}._bn1": f"{ours}.depthwise.1",
            }
            layers |= {f"{theirs}._project_conv": f"{ours}.project.0", f"{theirs}._bn2": f"{ours}.project.1"}
            number += 1
    return {
        f"{layers[layer]}.{kind}": values
        for layer, kind, values in ((*name.rsplit(".", 1), values) for name, values in weights.items())
        if layer != "_fc" and kind != "num_batches_tracked"
    }


register(EfficientNetLiteConfig, EfficientNetLiteModel)
