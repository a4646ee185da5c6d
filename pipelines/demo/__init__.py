"""The data that comes with the project, prepared by name."""

from __future__ import annotations

from pipelines.demo.command_line import command
from pipelines.demo.pipeline import NAMES, prepare

__all__ = ["NAMES", "command", "prepare"]
