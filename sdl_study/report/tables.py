"""Tables of a study as text and CSV, from plain rows; no cluster, no database."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def text_table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Columns aligned by width: numbers right, words left; a missing value is a dash.

    Args:
        rows: one mapping a line.
        columns: names, each with the format of its numbers (``".4f"``).
    """
    cells = [[_cell(row.get(column), form) for column, form in columns.items()] for row in rows]
    widths = [max(len(line[at]) for line in [list(columns), *cells]) for at in range(len(columns))]
    numeric = [all(_is_number(row.get(column)) for row in rows) for column in columns]

    def line(values: Sequence[str]) -> str:
        aligned = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    return "\n".join(
        [line(list(columns)), line(["-" * width for width in widths]), *(line(row) for row in cells)]
    )


def csv_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The same rows as CSV, numbers in full."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form) if isinstance(value, float) else str(value)
