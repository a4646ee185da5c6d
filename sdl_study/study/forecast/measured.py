"""One real step of the smallest encoder on this machine, where that takes seconds: how fast it really is."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from sdl_study.config import Settings
from sdl_study.models.outlines import outline_encoder
from sdl_study.study.forecast.devices import Device
from sdl_study.study.forecast.inputs import Reading
from sdl_study.study.forecast.memory import State
from sdl_study.study.forecast.trace import Traced

_OPERATIONS = {"cpu": 3e10, "cuda": 2e13}  # of the step: about a second on an idle machine
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class Measured:
    """A step on this machine.

    Attributes:
        device: "cpu" or the GPU's name.
        rows: of the step.
        seconds: that it took.
        operations: of the step.
    """

    device: str
    rows: int
    seconds: float
    operations: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def as_device(self, precision: str) -> Device:
        """This machine, at the rate of the step."""
        return Device(
            "this machine", float(psutil.virtual_memory().total), {precision: self.rate}, (1.0, 1.0)
        )


def measure_step(
    kind: str, own: Mapping[str, Any], reading: Reading, traced: Traced, state: State, settings: Settings
) -> Measured | None:
    """Time one forward and backward pass of an encoder with random weights.

    Returns:
        None where even one row takes more operations or memory than a dry run may.
    """
    cuda = torch.cuda.is_available()
    rows = int(min(settings.train.batch_size, _OPERATIONS["cuda" if cuda else "cpu"] / traced.both.total))
    free = torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available
    while rows and state.total + traced.alive(rows) > _MEMORY_SHARE * free:
        rows //= 2
    if not rows:
        return None
    device = torch.device("cuda" if cuda else "cpu")
    with torch.random.fork_rng(devices=[0] if cuda else []):
        encoder = outline_encoder(kind, own, reading.spec).train().to(device)
        batch = {name: values.to(device) for name, values in reading.batch(rows).items()}
        seconds = min(_seconds(encoder, batch, settings.train.precision) for _ in range(2))  # one to warm up
    name = torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPUs"
    return Measured(name, rows, seconds, traced.both.total * rows)


def _seconds(encoder: torch.nn.Module, batch: Mapping[str, torch.Tensor], precision: str) -> float:
    device = next(iter(batch.values())).device
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        embeddings = encoder(**batch)
    embeddings.float().square().mean().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
