"""MIMIC-III and MIMIC-IV, as PhysioNet gives them, → prepared data set of discharge summaries and ICD codes.

    python -m pipelines.mimic SOURCE OUT --release mimic-iii|mimic-iv --codes icd9|icd10
        --labels full|top50|min10 [--split hash|ids:DIR|table:FILE] [--text raw|caml] [--caml-compat] [--notes DIR]

The result is restricted: no option of the command line changes that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.mimic.pipeline import Options, prepare


def command(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.mimic", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("source", type=Path, help="folder as PhysioNet gives it")
    parser.add_argument("out", type=Path, help="folder of the prepared data set, must be new")
    parser.add_argument("--release", required=True, choices=["mimic-iii", "mimic-iv"])
    parser.add_argument("--codes", required=True, choices=["icd9", "icd10"])
    parser.add_argument("--labels", required=True, choices=["full", "top50", "min10"])
    parser.add_argument("--split", default="hash", help="hash, ids:DIR (CAML, Nguyen) or table:FILE (Edin)")
    parser.add_argument("--text", default="raw", choices=["raw", "caml"])
    parser.add_argument(
        "--notes", type=Path, help="folder of MIMIC-IV-Note, where it lies apart from MIMIC-IV"
    )
    parser.add_argument("--caml-compat", action="store_true", help="procedure codes as in CAML's files")
    given = parser.parse_args(arguments)
    options = Options(given.release, given.codes, given.labels, given.split, given.text, given.caml_compat)
    prepare(given.source, given.out, options, notes_source=given.notes)
