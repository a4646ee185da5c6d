"""Command line: ``python -m sdl_study.run`` runs the demo studies; ``--help`` shows the rest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdl_study.commands import find_commands
from sdl_study.ending import main_of
from sdl_study.files import check_local

DEFAULT = "study"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return main_of(lambda: _run(given))


def _run(given: list[str]) -> None:
    parsed = make_parser().parse_args(_with_default(given))
    for name, value in vars(parsed).items():
        if isinstance(value, Path) or (name == "data" and value is not None):
            check_local(value, f"--{name}")
    parsed.run(parsed)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, made by the commands themselves."""
    parser = argparse.ArgumentParser(
        prog="python -m sdl_study.run",
        description="Studies of the Similarity-Dissimilarity loss. Without a command: both demo studies.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in find_commands().items():
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _with_default(arguments: list[str]) -> list[str]:
    """Without a command, ``study`` is meant."""
    named = bool(arguments) and arguments[0] in (*find_commands(), "-h", "--help")
    return arguments if named else [DEFAULT, *arguments]


if __name__ == "__main__":
    sys.exit(main())
