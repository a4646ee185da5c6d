"""``python -m pipelines.table``."""

from __future__ import annotations

from pipelines.shared.runner import main
from pipelines.table.command_line import command

if __name__ == "__main__":
    main(command)
