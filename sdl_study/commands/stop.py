"""ask the process that runs a study to end in order"""

from __future__ import annotations

import argparse

from sdl_study.commands import add_out
from sdl_study.errors import UserError

_SECONDS = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``stop STUDY``."""
    parser.add_argument("study", metavar="STUDY", help="name of a study in --out")
    add_out(parser)
    parser.add_argument(
        "--wait", type=float, default=_SECONDS, metavar="SECONDS",
        help=f"how long to wait for its end (default: {_SECONDS:.0f})",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Send SIGTERM to the study's driver, if it runs on this machine, and wait for its end."""
    from sdl_study.record.files import StudyFiles
    from sdl_study.record.holder import look_at
    from sdl_study.study.stopping import stop

    files = StudyFiles(given.out.resolve(), given.study)
    if not files.folder.is_dir():
        raise UserError(
            f"{files.folder}: there is no study of this name; --out names another folder of studies"
        )
    for line in stop(files, look_at(files), given.wait):
        print(line, flush=True)
