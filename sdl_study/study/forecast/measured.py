"""One real step of the smallest encoder on this machine, where that takes seconds: how fast it really is."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from sdl_study.config import Settings
from sdl_study.models.outlines import outline_encoder
from sdl_study.study.forecast.devices import Device
from sdl_study.study.forecast.frozen import outputs_of

if TYPE_CHECKING:
    from sdl_study.study.forecast.encoders import EncoderForecast

_OPERATIONS = {"cpu": 3e10, "cuda": 2e13}  # of the step: about a second on an idle machine
_MEMORY_SHARE = 0.5
_LISTENS_SECONDS = 0.3  # to what other processes take of the CPUs


@dataclass(frozen=True)
class Measured:
    """A step on this machine.

    Attributes:
        device: "cpu" or the GPU's name.
        rows: of the step.
        seconds: that it took.
        operations: of the step.
        busy: share of the CPUs that other processes took just before; None on a GPU.
    """

    device: str
    rows: int
    seconds: float
    operations: float
    busy: float | None = None

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def as_device(self, precision: str) -> Device:
        """This machine, at the rate of the step."""
        return Device(
            "this machine", float(psutil.virtual_memory().total), {precision: self.rate}, (1.0, 1.0)
        )


def measure_step(encoder: EncoderForecast, settings: Settings) -> Measured | None:
    """Time one pass of an encoder with random weights forward and backward, from where a training's steps start.

    Where all of it is frozen and its outputs are kept, what is left to train tells no rate; its pass forward is timed.

    Returns:
        None where even one row takes more operations or memory than a dry run may.
    """
    frozen = encoder.kept_part
    work = encoder.heaviest.both if frozen is None or encoder.trained else frozen.work
    cuda = torch.cuda.is_available()
    rows = int(min(settings.train.batch_size, _OPERATIONS["cuda" if cuda else "cpu"] / work.total))
    free = torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available
    while rows and encoder.state.total + encoder.heaviest.alive(rows) > _MEMORY_SHARE * free:
        rows //= 2
    if not rows:
        return None
    device = torch.device("cuda" if cuda else "cpu")
    with torch.random.fork_rng(devices=[0] if cuda else []):
        model = outline_encoder(encoder.kind, encoder.settings, encoder.reading.spec).train().to(device)
        batch = {name: values.to(device) for name, values in encoder.reading.batch(rows).items()}
        if frozen is not None and encoder.trained:
            batch = outputs_of(model, batch)
        busy = None if cuda else psutil.cpu_percent(_LISTENS_SECONDS) / 100
        seconds = min(_seconds(model, batch, settings.train.precision) for _ in range(2))  # one to warm up
    name = torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPUs"
    return Measured(name, rows, seconds, work.total * rows, busy)


def _seconds(encoder: torch.nn.Module, batch: Mapping[str, torch.Tensor], precision: str) -> float:
    device = next(iter(batch.values())).device
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        embeddings = encoder(**batch)
    if embeddings.requires_grad:
        embeddings.float().square().mean().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
