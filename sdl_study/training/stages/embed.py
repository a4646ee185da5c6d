"""Embeddings of a frozen encoder, every rank encoding its share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sdl_study import distributed
from sdl_study.training.inputs import Inputs

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_ROWS_AT_ONCE = 256


@torch.no_grad()
def embed(
    encoder: nn.Module, rows: Int[np.ndarray, " n"], inputs: Inputs, device: torch.device
) -> Float[Tensor, "n width"]:
    """Embeddings of some rows, float32, in the rows' order, on every rank."""
    was_training = encoder.training
    encoder.eval()
    share = np.array_split(rows, distributed.world_size())[distributed.rank()]
    width = int(getattr(encoder, "width"))  # noqa: B009 (an nn.Module's attributes are not typed)
    local = torch.empty(len(share), width, device=device)
    order = inputs.by_length(share)
    for start in range(0, len(share), _ROWS_AT_ONCE):
        places = order[start : start + _ROWS_AT_ONCE]
        local[torch.from_numpy(places).to(device)] = encoder(**inputs.fetch(share[places], device)).float()
    encoder.train(was_training)
    return distributed.all_gather_rows(local)
