"""What test_bad_input.py asks of every source: good input, the command over it, and ways to spoil it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

# A file that opens and cannot be read, for root too.
UNREADABLE = Path("/proc/self/mem")


class Source(ABC):
    """Good input of a source, the command over it, and ways to spoil it."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.out = tmp / "out"
        self.make()

    @abstractmethod
    def make(self) -> None:
        """Write good input."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command line."""

    command: Callable[[list[str]], None]

    def run(self) -> None:
        type(self).command(self.arguments())


def make_unreadable(file: Path) -> None:
    """Put a file in its place that the system does not let anybody read."""
    file.unlink()
    file.symlink_to(UNREADABLE)


def kinds(source: type[Source]) -> list[str]:
    """Names of the ways to spoil a source."""
    return [
        name
        for name in dir(source)
        if not name.startswith("_") and name not in HELPERS and callable(getattr(source, name))
    ]


HELPERS = {"make", "run", "arguments", "rewrite", "change", "command"}
