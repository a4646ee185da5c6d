"""Words that programs write where a value is missing: pandas, R, SQL, spreadsheets, JavaScript."""

from __future__ import annotations

from typing import Literal

import polars as pl

# What becomes of such a word in a user's own table: refuse the table, take it for an empty cell, keep the word.
MissingRule = Literal["refuse", "empty", "keep"]

# In lower case. ".", "-" and "?" are those of SAS and Stata, of hand-made tables and of UCI's.
WORDS = frozenset(
    (
        "nan", "+nan", "-nan", "na", "<na>", "#na", "#n/a", "#n/a n/a", "n/a", "n.a.", "n.a", "na_character_", "nat",
        "<nat>", "none", "<none>", "(none)", "null", "<null>", "(null)", "[null]", "#null!", "nil", "<nil>",
        "\\n", "undefined", "missing", "<missing>", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "1.#snan", "-nan(ind)",
        "nan(ind)", "#value!", "#ref!", "#div/0!", "#name?", "#num!",
    )
)  # fmt: skip
SIGNS = frozenset((".", "..", "-", "--", "---", "–", "—", "?"))


def is_word(texts: pl.Expr, *, signs: bool) -> pl.Expr:
    """Whether a text is nothing but a word for a missing value, whatever its case and the blanks around it.

    Args:
        signs: whether a lone sign is one too; as a document it is a text.
    """
    return texts.str.strip_chars().str.to_lowercase().is_in(sorted(WORDS | SIGNS if signs else WORDS))
