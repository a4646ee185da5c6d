"""MS-COCO"s instances → prepared data set of images and object labels."""

from __future__ import annotations

from pipelines.coco.command_line import command
from pipelines.coco.pipeline import prepare

__all__ = ["command", "prepare"]
