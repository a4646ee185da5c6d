"""Own backbones in Hugging Face's form: configuration, ``save_pretrained`` and ``from_pretrained`` included.

Importing this file imports transformers (seconds): only the builders do it, inside the worker.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, ResNetConfig, ResNetModel
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from sdl_study.models.norm import GlobalBatchNorm, replace_batch_norm

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class ConvConfig(PreTrainedConfig):
    """Sizes of the word-level convolutional encoder."""

    model_type = "sdl_conv"
    vocab_size: int = 30522
    pad_token_id: int | None = 0
    hidden_size: int = 64
    kernel_size: int = 5
    num_hidden_layers: int = 1
    dropout: float = 0.0


class MlpConfig(PreTrainedConfig):
    """Sizes of the perceptron over numeric features."""

    model_type = "sdl_mlp"
    input_size: int = 1
    hidden_size: int = 128
    num_hidden_layers: int = 2
    dropout: float = 0.0


class NormResNetConfig(ResNetConfig):
    """A ResNet whose batch normalisation is replaced, and whose stem may keep small pictures' size."""

    model_type = "sdl_resnet"
    norm: str = "group"
    norm_groups: int = 8
    stem: str = "imagenet"


class _OwnModel(PreTrainedModel):
    """Layers keep torch's own initialisation (an embedding's entries are of unit variance)."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


class ConvModel(_OwnModel):
    """Embedding, then residual 1-D convolutions over the words; padding is zero before every layer."""

    config: ConvConfig
    config_class = ConvConfig
    main_input_name = "input_ids"

    def __init__(self, config: ConvConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, config.kernel_size, padding=config.kernel_size // 2)
            for _ in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def forward(
        self, input_ids: Int[Tensor, "n t"], attention_mask: Int[Tensor, "n t"], **_: object
    ) -> BaseModelOutput:
        kept = attention_mask.unsqueeze(-1).to(self.embedding.weight.dtype)
        hidden = self.dropout(self.embedding(input_ids)) * kept
        for layer in self.layers:
            update = torch.relu(layer(hidden.transpose(1, 2)).transpose(1, 2))
            hidden = (hidden + self.dropout(update)) * kept
        return BaseModelOutput(last_hidden_state=hidden)


class MlpModel(_OwnModel):
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
        hidden = self.standardize(features)
        for layer in self.layers:
            hidden = self.dropout(torch.relu(layer(hidden)))
        return BaseModelOutputWithPooling(pooler_output=hidden)


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


for _config, _model in ((ConvConfig, ConvModel), (MlpConfig, MlpModel), (NormResNetConfig, NormResNetModel)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
