"""One step of a model without numbers: its operations, and how much memory is alive at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Batch = dict[str, torch.Tensor]
Run = Callable[[Batch], torch.Tensor]
_ROWS = (2, 16)  # of the traces: between them, and beyond, what is alive at once grows linearly


@dataclass(frozen=True)
class Work:
    """Floating-point operations, a multiplication and an addition counted as two.

    Attributes:
        matrix: in products of matrices, attention among them.
        convolution: in convolutions, which keep a GPU less busy.
    """

    matrix: float = 0.0
    convolution: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.matrix + other.matrix, self.convolution + other.convolution)

    def __mul__(self, factor: float) -> Work:
        return Work(self.matrix * factor, self.convolution * factor)

    @property
    def total(self) -> float:
        """All of them."""
        return self.matrix + self.convolution


@dataclass(frozen=True)
class Traced:
    """What one row costs.

    Attributes:
        forward: operations of a pass forward.
        both: of a pass forward and backward, activations that are computed again included.
        peaks: rows of a pass, and the bytes then alive at once beside weights, gradients and the optimizer's state.
        shapes: of the inputs and of what is made of them, for one row.
    """

    forward: Work
    both: Work
    peaks: tuple[tuple[int, float], ...]
    shapes: dict[str, tuple[int, ...]]

    def __add__(self, other: Traced) -> Traced:
        """What one module and then another cost, as if all of both were alive at once."""
        peaks = tuple((rows, a + b) for (rows, a), (_, b) in zip(self.peaks, other.peaks, strict=True))
        shapes = {**self.shapes, **other.shapes}
        return Traced(self.forward + other.forward, self.both + other.both, peaks, shapes)

    def alive(self, rows: int) -> float:
        """Bytes that a pass of so many rows needs beside weights, gradients and the optimizer's state."""
        at, alive = zip(*self.peaks, strict=True)
        if rows <= at[-1]:
            return float(np.interp(rows, at, alive))
        return alive[-1] + (rows - at[-1]) * (alive[-1] - alive[-2]) / (at[-1] - at[-2])


def trace(module: nn.Module, batch_of: Callable[[int], Batch], run: Run, precision: str, made: str) -> Traced:
    """Trace a module forward and backward; inside ``without_numbers`` nothing is computed.

    Args:
        module: in training mode, on a CPU.
        batch_of: makes a batch of so many rows.
        run: gives the module's output for a batch.
        precision: "bf16" runs under autocast, as training does.
        made: what the output is called among the shapes.
    """
    least = _ROWS[0]
    forward, both = (_operations(batch_of, run, precision, backward) for backward in (False, True))
    peaks = tuple((rows, _most_alive(module, batch_of, rows, run, precision)) for rows in _ROWS)
    with torch.no_grad():
        batch = batch_of(least)
        shapes = {name: (1, *tensor.shape[1:]) for name, tensor in {**batch, made: run(batch)}.items()}
    return Traced(forward * (1 / least), both * (1 / least), peaks, shapes)


def forward_work(batch_of: Callable[[int], Batch], run: Run, precision: str) -> Work:
    """Operations of one row of a pass forward."""
    return _operations(batch_of, run, precision, backward=False) * (1 / _ROWS[0])


def _operations(batch_of: Callable[[int], Batch], run: Run, precision: str, backward: bool) -> Work:
    """Operations of a pass."""
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTS)
    batch = _made(batch_of, _ROWS[0], backward)
    with counter:
        _pass(batch, run, precision, backward)
    by_operation = counter.get_flop_counts().get("Global", {})
    convolution = sum(count for operation, count in by_operation.items() if "conv" in str(operation))
    return Work(float(counter.get_total_flops() - convolution), float(convolution))


def _most_alive(
    module: nn.Module, batch_of: Callable[[int], Batch], rows: int, run: Run, precision: str
) -> float:
    """Bytes alive at the peak of a pass, beside parameters and gradients.

    A micro-batch adds to gradients that are there. Operations are counted apart: counting keeps what would be let go.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    alive = AliveBytes([*module.parameters(), *module.buffers(), *gradients])
    made = _made(batch_of, rows, backward=True)
    with alive:  # a batch is counted as it lies there, without what it was made of
        batch = {
            name: values.detach().clone().requires_grad_(values.requires_grad)
            for name, values in made.items()
        }
        _pass(batch, run, precision, backward=True)
    return alive.peak


def _made(batch_of: Callable[[int], Batch], rows: int, backward: bool) -> Batch:
    with torch.set_grad_enabled(backward):
        return batch_of(rows)


def _pass(batch: Batch, run: Run, precision: str, backward: bool) -> None:
    with torch.set_grad_enabled(backward):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            made = run(batch)
        if made.requires_grad:
            torch.autograd.backward(made.float().square().mean())


class AliveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, from then until they are let go.

    Args:
        known: tensors that are there already and are not counted.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._sizes: dict[int, int] = {}
        self._known = [tensor.untyped_storage() for tensor in known]
        self._known_keys = {storage._cdata for storage in self._known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._note, out)
        return out

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes or key in self._known_keys:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def _convolution_backward(of_outputs: Any, inputs: Any, weights: Any, *settings: Any, **__: Any) -> int:
    """Each of the gradients, of inputs and of weights, takes as many operations as the pass forward."""
    *_, transposed, _output_padding, _groups, (of_inputs, of_weights, _of_bias) = settings
    slid_over = inputs if transposed else of_outputs
    return (of_inputs + of_weights) * conv_flop_count(slid_over, weights, [], transposed=True)


# torch counts the fused attention of GPUs, not that of CPUs; of a convolution in groups it counts the gradient of the
# weights as if there were one group, for EfficientNet's upper layers five times the operations that there are
# (pytorch/pytorch#183405).
_COUNTS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
