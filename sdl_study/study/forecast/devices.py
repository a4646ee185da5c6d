"""Devices: how fast they could be by their makers, how fast training is on them, and what fits in their memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdl_study.study.forecast.trace import Work

GIB = 2**30
# Shares of the peak rate that a training step reaches: products of matrices, and convolutions, whose time goes into
# moving data. An H100 reached .19 to .27 with the transformers of the studies mimic and coco, and .045 with ResNet-50
# (tests/benchmarks/gpu.py; not compiled).
MATRIX_SHARE, CONVOLUTION_SHARE = 0.22, 0.045
MEMORY_SHARE = 0.90  # the rest is lost in pieces too small to be used
CONTEXT_BYTES = GIB  # CUDA's own, and its libraries' workspaces


def usable_memory(memory: float) -> float:
    """Bytes of a GPU's that a training may fill."""
    return MEMORY_SHARE * memory - CONTEXT_BYTES


@dataclass(frozen=True)
class Device:
    """A GPU, or this machine as it was measured.

    Attributes:
        name: as it is shown.
        memory: bytes.
        peak: operations a second by precision: dense, without sparsity.
        shares: of the peak that matrix products and convolutions reach.
    """

    name: str
    memory: float
    peak: Mapping[str, float]
    shares: tuple[float, float] = (MATRIX_SHARE, CONVOLUTION_SHARE)

    @property
    def usable(self) -> float:
        """Bytes that a training may fill."""
        return usable_memory(self.memory)

    def seconds(self, work: Work, precision: str) -> float:
        """How long work takes."""
        matrix, convolution = (share * self.peak[precision] for share in self.shares)
        return work.matrix / matrix + work.convolution / convolution


# NVIDIA's data sheets: A100 80GB SXM (2021), H100 SXM (2023), L4 (2023); float32 without TensorFloat-32, which torch
# does not use by itself.
GPUS = (
    Device("A100 80 GB", 80 * GIB, {"bf16": 312e12, "fp32": 19.5e12}),
    Device("H100 80 GB", 80 * GIB, {"bf16": 989e12, "fp32": 67e12}),
    Device("L4 24 GB", 22.5 * GIB, {"bf16": 121e12, "fp32": 30.3e12}),
)
