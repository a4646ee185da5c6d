"""How many rows of a rank pass the encoder at once: as many as the memory of a GPU holds, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.errors import UserError
from sdl_study.training.gradients import is_separable
from sdl_study.training.inputs import Inputs
from sdl_study.training.model import PretrainingModel, TokenModel

if TYPE_CHECKING:
    from jaxtyping import Int

_STATES = 3
"""Times a trained parameter's size: two moments of the optimizer and the bucket in which ranks exchange gradients."""


def micro_batch_of(
    train: TrainSettings, model: PretrainingModel, inputs: Inputs, device: torch.device
) -> int | None:
    """Rows of a micro-batch by ``train.micro_batch``; None where all rows of a rank pass at once.

    "auto" tries the longest rows of train on a GPU, fewer by half until they fit; on a CPU all rows pass at once.

    Raises:
        UserError: "auto" with an encoder that is sharded, whose memory one rank alone cannot try out.
        torch.OutOfMemoryError: not even one row fits.
    """
    rows = train.views * -(-min(train.batch_size, len(inputs.train_rows)) // distributed.world_size())
    if train.micro_batch is None or (train.micro_batch == "auto" and device.type != "cuda"):
        return None
    if train.micro_batch != "auto":
        return train.micro_batch if train.micro_batch < rows else None
    if not is_separable(model.encoder):
        return None
    if train.parallel == "fsdp":
        raise UserError("train.micro_batch: with train.parallel=fsdp give a number, or None for all rows")
    longest = np.resize(
        inputs.longest(rows), rows
    )  # with several views of every example there are fewer examples
    fits = halved_until(lambda count: _try(train, model, inputs, longest[:count], device), rows)
    fits = min(distributed.row_counts(fits))  # one number for all ranks
    return fits if fits < rows else None


def halved_until(attempt: Callable[[int], None], rows: int) -> int:
    """The first of ``rows``, its half, its quarter, ... for which ``attempt`` does not run out of memory.

    Raises:
        torch.OutOfMemoryError: with one row too.
    """
    while True:
        try:
            attempt(rows)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        else:
            return rows
        rows = -(-rows // 2)


def _try(
    train: TrainSettings,
    model: PretrainingModel,
    inputs: Inputs,
    rows: Int[np.ndarray, " n"],
    device: torch.device,
) -> None:
    """A forward and backward pass of this rank alone, beside room for what an update needs; leaves no trace."""
    states = [torch.empty_like(p) for p in model.parameters() if p.requires_grad for _ in range(_STATES)]
    was_training, random_state = model.training, torch.cuda.get_rng_state(device)
    try:
        model.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bf16"):
            batch = inputs.fetch(rows, device)
            # What a head makes of embeddings is small beside them; of the states of all tokens it is not.
            made = model(batch)[0] if isinstance(model, TokenModel) else model.encoder(**batch)
        if made.requires_grad:
            made.float().square().sum().backward()
    finally:
        states.clear()
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        torch.cuda.set_rng_state(random_state, device)
        torch.cuda.empty_cache()
