"""MIMIC-III and MIMIC-IV → prepared data set of discharge summaries and ICD codes."""

from __future__ import annotations

from pipelines.mimic.command_line import command
from pipelines.mimic.pipeline import Options, prepare

__all__ = ["Options", "command", "prepare"]
