"""The word-level convolutional text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from sdl_study.models.backbones.own import OwnModel, register

if TYPE_CHECKING:
    from jaxtyping import Int
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


class ConvModel(OwnModel):
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
        """Hidden states, [n, t, width], zero at padding."""
        kept = attention_mask.unsqueeze(-1).to(self.embedding.weight.dtype)
        hidden = self.dropout(self.embedding(input_ids)) * kept
        for layer in self.layers:
            update = torch.relu(layer(hidden.transpose(1, 2)).transpose(1, 2))
            hidden = (hidden + self.dropout(update)) * kept
        return BaseModelOutput(last_hidden_state=hidden)


register(ConvConfig, ConvModel)
