"""What a frozen encoder, or its frozen lower layers, make of the data: computed once per study, shared by all jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sdl_study.config import TrainSettings
from sdl_study.data.hidden import open_hidden_store
from sdl_study.models import Encoder
from sdl_study.training.inputs import Inputs

GIB = 2**30
HELD_SHARE = 0.0625
"""Of a GPU's memory, that outputs may take so as to lie there for a job's time; of all of it, not of what is free by
chance: which jobs can run must not depend on those before."""


def with_frozen_outputs(
    inputs: Inputs, encoder: nn.Module, stores: Path, train: TrainSettings, device: torch.device
) -> Inputs:
    """The same data, with the outputs of the encoder's frozen part in the place of its inputs.

    As they are where nothing is frozen, the model does not run in two parts, or the outputs would take more than the
    limit; then every job computes them anew, as part of every step.

    Args:
        inputs: what the encoder reads.
        encoder: on the device.
        stores: folder of stores.
        train: the settings of training; half precision is also that of the outputs.
        device: of this rank.

    Raises:
        UserError: the outputs cannot be written.
    """
    if not (isinstance(encoder, Encoder) and encoder.can_split):
        return inputs
    half = train.precision == "bf16"
    key = encoder.frozen_key()
    assert key is not None

    def lower(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        on_device = {name: values.to(device) for name, values in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return encoder.lower(**on_device)

    was_training = encoder.training
    encoder.eval()
    try:
        with _all_threads(device):
            most = train.frozen_outputs_gib * GIB
            store = open_hidden_store(inputs.store, key, lower, stores, half, most)
        if store is None:
            return inputs
        if (
            device.type == "cuda"
            and store.nbytes <= HELD_SHARE * _device_memory(device) / train.trials_per_gpu
        ):
            store.hold_on(device)
        return replace(inputs, store=store)
    finally:
        encoder.train(was_training)


def _device_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory."""
    return torch.cuda.get_device_properties(device).total_memory


@contextmanager
def _all_threads(device: torch.device) -> Iterator[None]:
    """All CPUs of the machine: the others that want these outputs wait for them."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
