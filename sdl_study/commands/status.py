"""print how far studies are; nothing is written"""

from __future__ import annotations

import argparse

from sdl_study.commands import add_out
from sdl_study.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``status [STUDY]``."""
    parser.add_argument(
        "study", nargs="?", metavar="STUDY", help="name of a study in --out (default: all of them)"
    )
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")


def run(given: argparse.Namespace) -> None:
    """Print a line a study: state, trials, best value, finals, verdict, time, disk."""
    from datetime import UTC, datetime

    from sdl_study.record.files import StudyFiles
    from sdl_study.record.status import find_studies, status_of
    from sdl_study.report.status import status_json, status_text

    out = given.out.resolve()
    found = find_studies(out) if given.study is None else [StudyFiles(out, given.study)]
    if given.study is not None and not found[0].folder.is_dir():
        raise UserError(
            f"{found[0].folder}: there is no study of this name; --out names another folder of studies"
        )
    studies, now = [status_of(files) for files in found], datetime.now(UTC)
    if given.json:
        print(status_json(studies, now))
    elif studies:
        print(status_text(studies, now))
    else:
        print(f"{out}: no studies")
