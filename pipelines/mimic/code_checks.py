"""Codes that are none, and codes that went through a column of numbers and came out as other ones.

Spreadsheets and pandas read ``0117`` as 117: 01.17 and 11.7 are one label then, and nothing in the file says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl

from pipelines.mimic.icd import bare_code
from pipelines.shared.missing import WORDS
from pipelines.shared.runner import Progress
from pipelines.shared.tables import ROW
from sdl_study.errors import UserError

Kind = Literal["diagnosis", "procedure"]

_SHAPES: dict[tuple[Kind, int], str] = {
    ("diagnosis", 9): r"\d{3,5}|V\d{2,4}|E\d{3,4}",
    ("procedure", 9): r"\d{3,4}",
    ("diagnosis", 10): r"[A-Z]\d[A-Z0-9]{1,5}",
    ("procedure", 10): r"[A-HJ-NP-Z0-9]{7}",
}
# Where a dot may stand in a code that has one; nowhere in ICD-10-PCS.
_DOTTED: dict[tuple[Kind, int], str] = {
    ("diagnosis", 9): r"^(?:E\w{3}|[^E.]\w{2})\.?\w*$",
    ("procedure", 9): r"^\w{2}\.?\w*$",
    ("diagnosis", 10): r"^\w{3}\.?\w*$",
    ("procedure", 10): r"^\w+$",
}
# Nearly a tenth of ICD-9's numbers begin with 0: so many rows without one are no chance.
_ENOUGH_ROWS, _ENOUGH_CODES = 100, 3
_SHOWN = 3
_DOUBT = "was the column read as a number, which drops leading zeros?"


def without_words(path: Path, table: pl.DataFrame, field: str, progress: Progress) -> pl.DataFrame:
    """The rows whose column ``code`` holds a code: letters and digits, a digit among them.

    Args:
        field: what the column is called in the file.
        progress: told how many rows hold something else, such as nan, NULL or NoDx; they are left out.
    """
    is_code = bare_code(pl.col("code")).str.contains(r"^[A-Z0-9]*[0-9][A-Z0-9]*$")
    others = table.filter(~is_code)
    if others.height:
        found = others["code"].str.strip_chars().unique().sort().to_list()
        # Any other word may be a field that slipped into this column.
        known = [f"'{word}'" for word in found if word.lower() in (*WORDS, "nodx")][:_SHOWN]
        shown = f" but {', '.join(known)}" if known else ""
        progress(f"{path}: {others.height:,} rows whose {field} is no code{shown} are left out")
    return table.filter(is_code)


def refuse_misplaced_dots(path: Path, table: pl.DataFrame, field: str, kind: Kind, version: int) -> None:
    """A dot in another place than ICD's is a number's: 3893.0 is 38.93, and 0.66 was 00.66.

    Raises:
        UserError: naming the row.
    """
    code = pl.col("code").str.strip_chars().str.to_uppercase()
    dotted = code.str.contains(r"\..") & ~code.str.contains(_DOTTED[kind, version])
    bad = table.filter(dotted)
    if bad.height:
        raise UserError(
            f"{path}, row {bad[ROW][0]}, field {field}: a dot where an ICD-{version} {kind} code has none "
            f"({bad.height:,} rows): the column was read as a number; take the codes as text"
        )


def remarks_on(pairs: pl.DataFrame, version: int, *, compat: bool) -> list[str]:
    """Notes on codes that look as if a column of numbers had dropped their leading zeros.

    Args:
        pairs: kind and code (with its dot) of every row.
        compat: procedure codes are as CAML has them, without leading zeros.
    """
    kinds: tuple[Kind, ...] = ("diagnosis",) if compat else ("diagnosis", "procedure")
    return [line for kind in kinds for line in _remarks(pairs.filter(pl.col("kind") == kind), kind, version)]


def _remarks(pairs: pl.DataFrame, kind: Kind, version: int) -> list[str]:
    counts = {
        code.replace(".", ""): rows for code, rows in pairs.group_by("code").len().sort("code").iter_rows()
    }
    lines = []
    odd = [code for code in counts if not re.fullmatch(_SHAPES[kind, version], code)]
    if odd:
        # Numbers of few digits alone: whatever else stands in this column may name a patient.
        shown = ", ".join([code for code in odd if re.fullmatch(r"\d{1,4}", code)][:_SHOWN])
        rows = sum(counts[code] for code in odd)
        what = f"{len(odd):,} {kind} codes that do not look like ICD-{version}'s" + (
            f" ({shown})" if shown else ""
        )
        lines.append(f"{rows:,} rows hold {what}; {_DOUBT}")
    numbers = {code: rows for code, rows in counts.items() if code.isdecimal()}
    enough = len(numbers) >= _ENOUGH_CODES and sum(numbers.values()) >= _ENOUGH_ROWS
    if version == 9 and enough and not any(code.startswith("0") for code in numbers):
        lines.append(f"none of {sum(numbers.values()):,} {kind} codes begins with 0; {_DOUBT}")
    return lines
