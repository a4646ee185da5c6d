"""``python -m pipelines.coco``."""

from __future__ import annotations

from pipelines.coco.command_line import command
from pipelines.shared.runner import main

if __name__ == "__main__":
    main(command)
