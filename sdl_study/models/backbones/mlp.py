"""The perceptron over numeric features."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sdl_study.models.backbones.own import OwnModel, register
from sdl_study.models.norm import GlobalBatchNorm

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class MlpConfig(PreTrainedConfig):
    """Sizes of the perceptron over numeric features."""

    model_type = "sdl_mlp"
    input_size: int = 1
    hidden_size: int = 128
    num_hidden_layers: int = 2
    dropout: float = 0.0


class MlpModel(OwnModel):
    """Features standardised by (global) batch statistics, then linear layers with ReLU."""

    config: MlpConfig
    config_class = MlpConfig
    main_input_name = "features"

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        sizes = [config.input_size] + [config.hidden_size] * config.num_hidden_layers
        self.standardize = GlobalBatchNorm(config.input_size, affine=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def forward(self, features: Float[Tensor, "n d"], **_: object) -> BaseModelOutputWithPooling:
        """The last layer's values, [n, width], as ``pooler_output``."""
        hidden = self.standardize(features)
        for layer in self.layers:
            hidden = self.dropout(torch.relu(layer(hidden)))
        return BaseModelOutputWithPooling(pooler_output=hidden)


register(MlpConfig, MlpModel)
