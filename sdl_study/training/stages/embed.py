"""Embeddings of a frozen encoder, every rank encoding its share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sdl_study import distributed
from sdl_study.training.inputs import Inputs, on_device
from sdl_study.training.prefetch import prefetched
from sdl_study.workers.job import SettingFailure

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_ROWS_AT_ONCE = 256
_TOKENS_AT_ONCE = 256 * 256


class NonFiniteEmbeddings(SettingFailure):
    """An encoder gives NaN, infinity, or numbers whose squares are: the last update before was too large."""


def embed(
    encoder: nn.Module,
    rows: Int[np.ndarray, " n"],
    inputs: Inputs,
    device: torch.device,
    precision: str = "fp32",
) -> Float[Tensor, "n width"]:
    """Embeddings of some rows, float32, in the rows' order, on every rank.

    Args:
        encoder: of the store's examples.
        rows: row numbers in the data set.
        inputs: what is read.
        device: of this rank.
        precision: in which the encoder computes, "bf16" under autocast as in training, or "fp32".

    Raises:
        NonFiniteEmbeddings: on every rank, for each has all of them.
    """
    width = int(getattr(encoder, "width"))  # noqa: B009 (an nn.Module's attributes are not typed)
    return computed(encoder, lambda batch: encoder(**batch), width, rows, inputs, device, precision)


@torch.no_grad()
def computed(
    model: nn.Module,
    forward: Callable[[dict[str, Tensor]], Tensor],
    width: int,
    rows: Int[np.ndarray, " n"],
    inputs: Inputs,
    device: torch.device,
    precision: str = "fp32",
) -> Float[Tensor, "n width"]:
    """As ``embed``, of anything that a model in evaluation mode makes of examples.

    Args:
        model: put into evaluation mode meanwhile.
        forward: gives one row of ``width`` numbers for each example.
    """
    was_training = model.training
    model.eval()
    share = np.array_split(rows, distributed.world_size())[distributed.rank()]
    local = torch.empty(len(share), width, device=device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    batches = list(inputs.batches(share, _ROWS_AT_ONCE, _TOKENS_AT_ONCE))
    with prefetched(batches, lambda places: inputs.read(share[places], device)) as read, autocast:
        for places, values in zip(batches, read, strict=True):
            local[torch.from_numpy(places).to(device)] = forward(on_device(values, device)).float()
    model.train(was_training)
    embeddings = distributed.all_gather_rows(local)
    if len(rows) and not bool(embeddings.abs().amax() < largest_usable(len(rows))):  # NaN is below nothing
        raise NonFiniteEmbeddings
    return embeddings


def largest_usable(rows: int) -> float:
    """The largest number that ``rows`` embeddings may hold so that their variance is finite in float32."""
    return 0.25 * math.sqrt(torch.finfo(torch.float32).max / rows)
