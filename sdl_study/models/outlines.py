"""Encoders built from their configuration alone, never from weights: what a forecast measures.

Inside ``without_numbers`` they have shapes and no memory, and every operation on them is computed as far as shapes go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models.catalogue import find_kind, parse_encoder_settings
from sdl_study.models.encoders import Encoder

_Model = TypeVar("_Model", bound=nn.Module)


@contextmanager
def without_numbers() -> Iterator[None]:
    """Tensors made inside have a shape, a type and a device, and neither numbers nor memory."""
    with FakeTensorMode(allow_non_fake_inputs=True):  # a model may hold a constant tensor of its own
        yield


def outline_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> Encoder:
    """An encoder as ``build_encoder`` makes it, its weights random where the kind would load them.

    Raises:
        UserError: as ``parse_encoder_settings``; its configuration is out of reach.
    """
    checked, found = parse_encoder_settings(kind, settings), find_kind(kind)
    build = found.build if found.outline is None else found.outline
    backbone, width = build(checked, spec)
    return Encoder(backbone, kind=found.reference, settings=checked, spec=spec, width=width)


def shape_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> Encoder:
    """The same inside ``without_numbers``: it is built on the meta device, so that nobody looks for its numbers."""
    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():  # an initialisation may look at what it drew
        encoder = outline_encoder(kind, settings, spec)
    return _on_cpu(encoder)


def _on_cpu(encoder: Encoder) -> Encoder:
    """Parameters and buffers as they are, on the CPU, whose operations tell more than the meta device's.

    What two modules share stays shared.
    """
    made: dict[int, torch.Tensor] = {}

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            made[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        return made[id(tensor)]

    parameters: dict[int, nn.Parameter] = {}
    for module in encoder.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                kept = parameters.setdefault(
                    id(parameter), nn.Parameter(moved(parameter), requires_grad=parameter.requires_grad)
                )
                module._parameters[name] = kept
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = moved(buffer)
    return encoder


def as_on_gpu(model: _Model) -> _Model:
    """Let a model compute on a CPU what it computes on a GPU, as far as memory and operations go.

    There attention is fused with its dropout, and under autocast a layer norm works in float32; a CPU falls back to
    attention that keeps every weight, and normalises in half precision.
    """
    for module in model.modules():
        if type(module).__name__.endswith("Attention"):
            module.training = False  # this flag alone: it turns the dropout inside attention off
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_in_float32)
    return model


def _in_float32(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].float(), *inputs[1:])


def outline_failure(name: str, error: Exception) -> UserError:
    """One line for a kind of the user's own that cannot be computed without numbers."""
    return UserError(
        f"model.encoders.{name}: cannot be built or run without numbers ({type(error).__name__}), so there is no "
        "forecast for it"
    )
