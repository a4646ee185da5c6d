"""A table of the user"s own → prepared data set of texts, images or numeric features."""

from __future__ import annotations

from pipelines.table.command_line import command
from pipelines.table.pipeline import Columns, prepare

__all__ = ["Columns", "command", "prepare"]
