"""ICD codes as MIMIC stores them (without dots) → codes as they are published (with dots)."""

from __future__ import annotations

import polars as pl


def dotted(code: pl.Expr, kind: str, version: int) -> pl.Expr:
    """Put the dot where it belongs.

    ICD-9 diagnosis: after 3 characters, after 4 where it starts with E. ICD-9 procedure: after 2.
    ICD-10-CM: after 3. ICD-10-PCS: none. No dot where nothing would follow it. The dot is also what
    keeps ICD-9 diagnoses ("4239" → "423.9") and procedures ("4239" → "42.39") apart.

    Blanks around a code go, and so do dots and lower case, for files that somebody has worked on.

    Args:
        code: string column of codes, with or without dots.
        kind: "diagnosis" or "procedure".
        version: 9 or 10.
    """
    code = bare_code(code)
    if version == 10 and kind == "procedure":
        return code
    if version == 9 and kind == "procedure":
        return _dot_after(code, 2)
    if version == 9:
        return pl.when(code.str.starts_with("E")).then(_dot_after(code, 4)).otherwise(_dot_after(code, 3))
    return _dot_after(code, 3)


def caml_compat(code: pl.Expr, kind: str, version: int) -> pl.Expr:
    """Codes as CAML's files have them: procedure codes went through an integer and lost leading zeros.

    "0066" → "66" → "66."; so some of CAML's labels end in a bare dot. Diagnoses are as in ``dotted``.
    """
    if version == 9 and kind == "procedure":
        stripped = bare_code(code).str.replace(r"^0+(.)", "${1}")
        return stripped.str.slice(0, 2) + pl.lit(".") + stripped.str.slice(2)
    return dotted(code, kind, version)


def bare_code(code: pl.Expr) -> pl.Expr:
    """A code as MIMIC stores it: no dot, no blanks around it, upper case."""
    return code.str.strip_chars().str.replace_all(".", "", literal=True).str.to_uppercase()


def _dot_after(code: pl.Expr, position: int) -> pl.Expr:
    return (
        pl.when(code.str.len_chars() > position)
        .then(code.str.slice(0, position) + pl.lit(".") + code.str.slice(position))
        .otherwise(code)
    )
