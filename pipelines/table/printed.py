"""Cells that hold a list, a set or an object as some program printed it, where labels with separators belong."""

from __future__ import annotations

import polars as pl

from pipelines.shared.missing import UNSEEN

# Python's [...], {...} and (...), PostgreSQL's {...}, JSON, numpy's array([...]), R's c("..."), and what C#, Java
# and Python print in place of a list's items.
_WHOLE = (
    r"^\[.*\]$",
    r"^\{.*\}$",
    r"^\[\d+:\d+\]=\{.*\}$",
    r"^\(\s*\)$",
    r"^\(\s*['\"].*['\"]\s*,?\s*\)$",
    r"^\(\s*-?\d[\d.]*\s*,[-\s\d.,]*\)$",
    r"^[A-Za-z_][\w.]*\(\s*[\[{(].*\)$",
    r"^(?:set|frozenset|list|tuple|dict|deque|array|character|integer|numeric)\((?:\s*|0)\)$",
    r"^System\.[\w.]+(?:\[\])?$",
    r"^\[L[\w.]+;@[0-9a-f]+$",
    r"^<.+ at 0x[0-9a-fA-F]+>$",
    r"^(?:c|list|set|frozenset|tuple|array)\(\s*['\"\d].*\)$",
)
# The first piece of one that was cut off, or split at its commas.
_BEGINNING = r"^(?:[A-Za-z_][\w.]*\()?[\[{(]{1,2}\s*['\"]"
_QUOTED = r"""^(?:'[^']*'|"[^"]*")(?:[\s,;|]+(?:'[^']*'|"[^"]*"))*$"""


def is_printed(cells: pl.Expr) -> pl.Expr:
    """Whether a cell is a printed list, set or object, or a row of texts in quotes."""
    whole = "|".join(f"(?:{pattern})" for pattern in (*_WHOLE, _QUOTED))
    bare = _bare(cells)
    return bare.str.contains(f"(?s){whole}") | bare.str.contains(_BEGINNING)


def is_piece(labels: pl.Expr) -> pl.Expr:
    """Whether an item of a list is the first piece of a printed one, such as splitting that at its commas gives."""
    return _bare(labels).str.contains(_BEGINNING)


def _bare(texts: pl.Expr) -> pl.Expr:
    """Without the blanks and the invisible characters around it."""
    return texts.str.replace_all(UNSEEN, "").str.strip_chars()
