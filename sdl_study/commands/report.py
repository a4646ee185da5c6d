"""print what a study came to and write its page, from its folder alone"""

from __future__ import annotations

import argparse

from sdl_study.commands import add_out
from sdl_study.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``report STUDY``."""
    parser.add_argument("study", metavar="STUDY", help="name of a study in --out")
    add_out(parser)


def run(given: argparse.Namespace) -> None:
    """Print the answer of a finished study, or how far it is, and write its page; no cluster is needed.

    Beside the predictions of finals it keeps what it computed of them.
    """
    from sdl_study.record.answer import read_answer
    from sdl_study.record.files import StudyFiles
    from sdl_study.record.identity import read_identity
    from sdl_study.record.journal import read
    from sdl_study.report.study_page import write_page
    from sdl_study.report.text import answer_text, trials_text

    files = StudyFiles(given.out.resolve(), given.study)
    if not files.study_json.exists():
        raise UserError(
            f"{files.folder}: there is no study of this name; --out names another folder of studies"
        )
    identity = read_identity(files.study_json)
    if files.answer.exists():
        print(answer_text(read_answer(files.answer)))
    else:
        print(f"{given.study}: no answer yet")
    print(f"\n{trials_text(read(files.journal).all(), identity['settings']['objective'])}")
    print(f"\npage: {write_page(files)}")
