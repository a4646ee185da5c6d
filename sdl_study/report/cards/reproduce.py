"""The commands that make this study again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sdl_study.report.page.card import Card
from sdl_study.report.page.frames import StudyFrames
from sdl_study.version import SOURCES

KEY, TITLE = "reproduce", "Reproduce"
_PROGRAM = "python -m sdl_study.run"


def card(study: StudyFrames) -> Card:
    """How the study was started, how to see it again, how the best arm's final is run again and handed out."""
    record = study.record
    declaration = record.declaration
    code = str(record.identity.get("code_version", ""))
    commands = [start_command(study.name, found) for found in record.environments[-1:]]
    commit = code.partition("+")[2].removesuffix("-dirty")
    if commit and not commit.startswith(SOURCES):
        commands.insert(0, f"git checkout {commit}")
    commands.append(f"{_PROGRAM} report {study.name}")
    if record.finals:
        commands += [f"{_PROGRAM} reproduce {study.name}", f"{_PROGRAM} export {study.name} FOLDER"]
    sentence = "The same commands with the same code, data and environment give the same trials, winners and numbers."
    lines = [
        f"study seed {study.settings['seed']}; data fingerprint {record.identity.get('data_fingerprint', 'unknown')}"
    ]
    if declaration is not None:
        lines.append(f"declaration {declaration.sha}")
    if not record.environments:
        lines.append("How the study was started is not known: it is from before that was written down.")
    if code.endswith("-dirty"):
        lines.append("The code had changes that were not committed: the commit alone is not what ran.")
    if commit.startswith(SOURCES):
        lines.append(
            f"No commit is known, for no clone ran: code {commit} is what python -m sdl_study.version prints of it."
        )
    return Card(KEY, TITLE, sentence, lines=lines, commands=commands)


def start_command(name: str, found: Mapping[str, Any]) -> str:
    """The command line that starts such a study; the folder of the data is the reader's own.

    Args:
        name: of the study.
        found: an environment that worked on it.
    """
    words = [_PROGRAM, "study", shlex.quote(found["study"])]
    if "base" in found:
        words += ["--base", shlex.quote(found["base"])]
    if "warm_start" in found:
        words += ["--warm-start", shlex.quote(found["warm_start"])]
    words += ["--name", shlex.quote(name)]
    if found["own_data"]:
        words += ["--data", "DIR"]
    for path, value in found["overrides"].items():
        words += ["--set", _quoted(f"{path}={value}")]
    return " ".join(words)


def _quoted(argument: str) -> str:
    """One word of a shell; names in single quotes stay readable within double ones."""
    readable = "'" in argument and not set(argument) & set('"$`\\!')
    return f'"{argument}"' if readable else shlex.quote(argument)
