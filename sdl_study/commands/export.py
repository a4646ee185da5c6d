"""hand out the model of a final: encoder, tokenizer, probe or head, labels, a card and a script that scores"""

from __future__ import annotations

import argparse
from pathlib import Path

from sdl_study.commands import add_out
from sdl_study.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``export STUDY/RUN FOLDER``."""
    parser.add_argument(
        "reference", metavar="STUDY/RUN",
        help="STUDY/sd-0 (arm sd's final of the first seed), STUDY/finetune/sd-0, STUDY (the best arm's final), or "
        "STUDY/12 (trial 12) with --from",
    )  # fmt: skip
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="where to; a folder that is not there yet"
    )
    add_out(parser)
    parser.add_argument(
        "--from",
        type=Path,
        dest="kept",
        metavar="DIR",
        help="take the weights that reproduce --keep DIR left",
    )
    parser.add_argument(
        "--allow-restricted", action="store_true",
        help="let weights and tokenizer of restricted data out of the study's folder; the card says so",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Write the folder; the study is left as it is."""
    from sdl_study.record.chosen import choose
    from sdl_study.report.export.folder import write_export
    from sdl_study.report.export.source import find_source

    chosen = choose(given.out, given.reference)
    check_terms(chosen.record.restricted, given.allow_restricted, chosen.reference)
    write_export(find_source(chosen, given.kept), given.folder.resolve())
    print(f"{chosen.reference}: {given.folder}; {given.folder}/README.md says how it is used")


def check_terms(restricted: bool, allowed: bool, reference: str) -> None:
    """Refuse to let weights of restricted data out of their study's folder unasked.

    Raises:
        UserError: names the flag.
    """
    if restricted and not allowed:
        raise UserError(
            f"{reference}: is trained on restricted data, whose weights and tokenizer stay in the study's folder; "
            "where your agreement allows more, add --allow-restricted"
        )
