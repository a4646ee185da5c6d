"""Trials and finals as MLflow shows them: plain data, made by the study, written by the tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialRun:
    """A trial as MLflow shows it."""

    number: int
    name: str
    arm: str
    state: str
    parameters: Mapping[str, Any]
    epochs: Mapping[int, Mapping[str, float]]
    summary: Mapping[str, float]
    tags: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True)
class FinalRun:
    """A final or control as MLflow shows it."""

    key: str
    name: str
    role: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    failure: str | None = None
    description: str = ""
