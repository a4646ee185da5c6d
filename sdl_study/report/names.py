"""Names of trials and settings in few characters, the same in lines, tables and MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdl_study.record.findings import Edge
from sdl_study.record.trials import TrialRecord

LEAST_COUNT = 10
"""Of restricted data a smaller count is not told."""


def count_name(count: int, restricted: bool) -> str:
    """A count in words; of restricted data one below ten is not told."""
    return f"<{LEAST_COUNT}" if restricted and count < LEAST_COUNT else f"{count:,}"


def trial_name(record: TrialRecord) -> str:
    """A trial's name everywhere: ``017 sd τ=.083 small``."""
    return f"{record.number:03d} {setting_name(record.arm, record.parameters)}"


def setting_name(arm: str, parameters: Mapping[str, Any]) -> str:
    """Arm, temperature and encoder in few characters."""
    words = [arm]
    temperature = parameters.get("loss.temperature")
    if temperature is not None:
        words.append(f"τ={temperature:.3f}".replace("=0.", "=."))
    if "model.encoder" in parameters:
        words.append(str(parameters["model.encoder"]))
    return " ".join(words)


def edge_name(edge: Edge) -> str:
    """A parameter at an end of its range: ``loss.temperature .48 (high)``."""
    return f"{edge.parameter} {edge.value:.4g} ({edge.end})"
