"""The command line is frozen: a new knob is a setting, given by ``--set``."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import pytest

from sdl_study import commands
from sdl_study.commands import find_commands
from sdl_study.run import DEFAULT, make_parser

OPTIONS = {
    "check": {"what"},
    "check data": {"path", "--batch-size"},
    "check study": {"study", "--out", "--tracking-uri"},
    "check cluster": {"--address", "--out", "--data", "--tracking-uri"},
    "export": {"reference", "folder", "--out", "--from", "--allow-restricted"},
    "fetch": {"study", "--storage", "--out"},
    "report": {"study", "--out"},
    "reproduce": {
        "reference", "--out", "--data", "--workers", "--address", "--tolerance", "--keep", "--allow-restricted",
    },
    "status": {"study", "--out", "--json"},
    "stop": {"study", "--out", "--wait"},
    "study": {
        "names", "--out", "--data", "--dry-run", "--name", "--trials", "--workers", "--set", "--address",
        "--tracking-uri", "--allow-record-artifacts", "--base", "--register", "--storage", "--hours", "--gpu-hours",
        "--warm-start",
    },
}  # fmt: skip


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command's, and below ``check`` those of what it looks at."""
    return _below(make_parser(), "")


def _below(parser: argparse.ArgumentParser, before: str) -> dict[str, argparse.ArgumentParser]:
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found |= {before + name: below, **_below(below, f"{before}{name} ")}
    return found


def test_no_option_comes_or_goes_unnoticed() -> None:
    found = {
        name: {
            option
            for action in parser._actions
            for option in action.option_strings or [action.dest]
            if option not in ("-h", "--help")
        }
        for name, parser in parsers().items()
    }
    assert found == OPTIONS


def test_commands_are_the_files_of_their_folder() -> None:
    folder = Path(str(commands.__file__)).parent
    assert set(find_commands()) == {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    assert DEFAULT in find_commands()


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_command_says_what_it_does_and_what_its_options_mean(name: str) -> None:
    module = find_commands()[name.partition(" ")[0]]
    assert module.__doc__
    text = parsers()[name].format_help()
    assert all(option in text for option in OPTIONS[name] if option.startswith("--"))
    helps = [action.help for action in parsers()[name]._actions if action.option_strings]
    assert all(helps)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_importing_a_command_imports_nothing_heavy(name: str) -> None:
    """``--help`` and mistakes in what was typed are answered at once."""
    tree = ast.parse(Path(str(find_commands()[name.partition(" ")[0]].__file__)).read_text())
    at_once = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    allowed = {"__future__", "argparse", "ast", "collections.abc", "pathlib", "typing"}
    assert at_once <= allowed | {"sdl_study.commands", "sdl_study.errors", "sdl_study.own_modules"}
