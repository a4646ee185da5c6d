"""The commands of ``python -m sdl_study.run``: one module each, found by its name.

A command's module has ``add_arguments(parser)`` and ``run(given)``; the first line of its docstring is its help.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType


def find_commands() -> dict[str, ModuleType]:
    """Every command by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def add_out(parser: argparse.ArgumentParser) -> None:
    """``--out``, which every command has that looks at studies."""
    parser.add_argument(
        "--out", type=Path, default=Path("studies"), help="folder of studies (default: studies)"
    )
