"""A table of the user's own → prepared data set of texts, images or numeric features with label sets.

    python -m pipelines.table FILE OUT --text COLUMN | --image COLUMN | --features GLOB --labels COLUMN
        [--group COLUMN] [--split COLUMN] [--id COLUMN] [--separator ,] [--up-to SIGN]
        [--missing empty|keep] [--terms open]

FILE is CSV, TSV, JSONL or Parquet. Labels are a list (JSONL, Parquet) or a text with separators; an
empty one is an example without labels. Without --split, a hash of the group (or of the id) decides.
Ids, groups, splits and labels are taken without the blanks around them. In a TSV file a quote is a
character like any other, unless quoted fields hold tabs or line breaks, or all quotes enclose fields.
Cells that hold a word for a missing value (nan, NA, NULL, None and the like) are refused until --missing
says what they mean: an empty cell, or the word itself.
The result is restricted unless --terms open.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from pipelines.shared.missing import MissingRule
from pipelines.table.pipeline import Columns, prepare


def command(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.table", description=(__doc__ or "").partition("\n")[0]
    )
    kinds = "CSV, TSV (where quotes are letters unless they enclose fields throughout), JSONL or Parquet"
    parser.add_argument("file", type=Path, help=kinds)
    parser.add_argument("out", type=Path, help="folder of the prepared data set, must be new")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--text", metavar="COLUMN")
    kind.add_argument("--image", metavar="COLUMN", help="image files, relative to the table's folder")
    kind.add_argument("--features", metavar="GLOB", help='columns of numbers, like "gene_*"')
    parser.add_argument("--labels", metavar="COLUMN", required=True)
    parser.add_argument("--group", metavar="COLUMN", help="patient, author …: never in two splits")
    parser.add_argument("--split", metavar="COLUMN", help="train, dev or test of every row")
    parser.add_argument("--id", metavar="COLUMN", help="id of the user's own, kept in id_map.parquet only")
    parser.add_argument("--separator", default=",", help="between the labels of a text column")
    note = "keep a label up to SIGN: with ' -- ' (in spaces, as it begins with a dash) A--B becomes A"
    parser.add_argument("--up-to", metavar="SIGN", type=str.strip, help=note)
    words = (
        "a cell that holds nan, NA, NULL or the like: refuse the table, take it for empty, or keep the word"
    )
    parser.add_argument("--missing", choices=get_args(MissingRule), default="refuse", help=words)
    parser.add_argument("--terms", choices=["open", "restricted"], default="restricted")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    file, out, terms = given.pop("file"), given.pop("out"), given.pop("terms")
    prepare(file, out, Columns(**given), terms=terms)
