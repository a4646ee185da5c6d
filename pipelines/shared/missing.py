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
        "nan(ind)", "(nan)", "<nan>", "(na)", "pd.na", "np.nan", "na_integer_", "na_real_", "#nv", "#n/d", "#н/д",
        "(blank)", "<blank>", "(empty)", "<empty>", "not available", "not applicable", "no data",
        "#value!", "#ref!", "#div/0!", "#name?", "#num!",
    )
)  # fmt: skip
SIGNS = frozenset((".", "..", "-", "--", "---", "–", "—", "?"))
UNSEEN = r"[\p{Cf}\p{Cc}]"
_SHORT = 64  # bytes; what is longer is neither


def is_word(texts: pl.Expr, *, signs: bool) -> pl.Expr:
    """Whether a text is nothing but a word for a missing value, whatever its case and the blanks around it.

    Args:
        texts: null is no word.
        signs: whether a lone sign is one too; as a document it is a text.
    """
    return (
        _seen(texts)
        .str.to_lowercase()
        .is_in(sorted(WORDS | SIGNS if signs else WORDS))
        .fill_null(value=False)
    )


def is_empty(texts: pl.Expr) -> pl.Expr:
    """Whether nothing of a text can be seen, or it is null."""
    return texts.is_null() | (_seen(texts) == "").fill_null(value=False)


def _seen(texts: pl.Expr) -> pl.Expr:
    """A short text without invisible characters and the blanks around it; null for a long one."""
    short = pl.when(texts.str.len_bytes() <= _SHORT).then(texts)
    return short.str.replace_all(UNSEEN, "").str.strip_chars()
