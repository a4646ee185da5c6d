"""What the last digits of a number depend on beside code, packages and seed."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

_CPU_FILE = Path("/proc/cpuinfo")


def numerics() -> dict[str, Any]:
    """Processor, the instructions that torch uses of it, threads of a worker, and the GPU if there is one."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": 1 if gpu is None else torch.get_num_threads(),  # as ``workers.group`` sets them
        "gpu": gpu,
    }


def _cpu() -> str:
    """The processor's own name, where the system tells it."""
    lines = _CPU_FILE.read_text(encoding="utf-8").splitlines() if _CPU_FILE.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
