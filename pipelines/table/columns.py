"""Columns of a user's own table → names, texts, label sets, splits and features, or one line about a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipelines.shared.forms import bare
from pipelines.shared.missing import MissingRule, is_empty, is_word
from pipelines.shared.tables import ROW
from pipelines.table.printed import is_piece, is_printed
from sdl_study.errors import UserError

_SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test",
}  # fmt: skip
_FILL, _LEAVE_EMPTY = "fill it in or leave the row out", "give --missing empty if these rows have no label"
_TEXTS = (pl.String, pl.Null, pl.Categorical, pl.Enum)
# One 0 or 1 after another, whatever stands between them.
_VECTOR = r"^\s*[01](?:[\s,;|/]+[01])+\s*$"
_NOT_FLAT = (pl.List, pl.Array, pl.Struct, pl.Object)


def names_of(
    file: Path, table: pl.DataFrame, column: str, missing: MissingRule = "refuse", *, unique: bool = False
) -> list[str]:
    """Ids or groups: texts without the blanks around them, so that "P1" and "P1 " are one patient.

    Raises:
        UserError: an empty one, a word for a missing value, or with ``unique`` one that stood in an earlier row.
    """
    texts = _plain_texts(file, table, column).str.strip_chars()
    names = _filled(file, table, column, _without_words(file, table, column, texts, missing, signs=True))
    twice = table.filter(~names.is_first_distinct()) if unique else table.clear()
    if twice.height:
        raise UserError(f"{file}, row {twice[ROW][0]}, field {column}: duplicate id")
    return names.to_list()


def texts_of(file: Path, table: pl.DataFrame, column: str, missing: MissingRule = "refuse") -> list[str]:
    """Texts as they are; a list (the sentences of a document) joined by spaces.

    Raises:
        UserError: an empty one, one that is a word for a missing value, or a column that holds no texts.
    """
    values = table[column]
    if isinstance(values.dtype, pl.List) and not isinstance(values.dtype.inner, (*_NOT_FLAT, pl.Binary)):
        texts = values.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
    else:
        texts = _plain_texts(file, table, column)
    return _filled(
        file, table, column, _without_words(file, table, column, texts, missing, signs=False)
    ).to_list()


def splits_of(file: Path, table: pl.DataFrame, column: str, missing: MissingRule = "refuse") -> list[str]:
    """ "train", "dev" or "test" of every row; val and the like are dev."""
    names = [bare(name).lower() for name in names_of(file, table, column, missing)]
    for row, name in zip(table[ROW].to_list(), names, strict=True):
        if name not in _SPLITS:
            raise UserError(f"{file}, row {row}, field {column}: unknown split; use train, dev or test")
    return [_SPLITS[name] for name in names]


def label_sets(
    file: Path,
    table: pl.DataFrame,
    column: str,
    separator: str,
    up_to: str | None,
    missing: MissingRule = "refuse",
) -> tuple[pl.Series, list[str]]:
    """Label indices of every row (a series ``labels``), and the label codes in sorted order.

    Raises:
        UserError: the column holds no labels: vectors, numbers with fractions, printed lists or sets, or words for
            a missing value.
    """
    lists = _label_lists(file, table, column, separator)
    frame = pl.DataFrame({ROW: table[ROW], "label": lists}).explode("label")
    if up_to:
        frame = frame.with_columns(pl.col("label").str.split(up_to).list.first())
    frame = frame.with_columns(pl.col("label").str.strip_chars())
    labels = _without_words(file, frame, column, frame["label"], missing, signs=True, remedy=_LEAVE_EMPTY)
    frame = frame.with_columns(labels.alias("label")).filter(~is_empty(pl.col("label")))
    codes = frame["label"].unique().sort().to_list()
    if not codes:
        raise UserError(f"{file}, field {column}: no row has a label")
    number = {code: i for i, code in enumerate(codes)}
    found = frame.select(ROW, pl.col("label").replace_strict(number, return_dtype=pl.Int32))
    sets = found.group_by(ROW).agg(pl.col("label").unique().sort().alias("labels"))
    joined = table.select(ROW).join(sets, on=ROW, how="left", maintain_order="left")
    return joined["labels"].fill_null([]), codes


def _label_lists(file: Path, table: pl.DataFrame, column: str, separator: str) -> pl.Series:
    values = table[column]
    inner = values.dtype.inner if isinstance(values.dtype, pl.List) else values.dtype
    if not (inner in _TEXTS or inner.is_integer()):
        raise UserError(
            f"{file}, field {column}: holds {_kind_of(values.dtype)}, not a text, a whole number or a flat list of them"
        )
    if not isinstance(values.dtype, pl.List):
        texts = values.cast(pl.String).fill_null("")
        _refuse_printed(
            file, column, table.select(ROW, texts.alias("cell")).filter(is_printed(pl.col("cell")))
        )
        _refuse_vectors(file, column, _as_vectors(texts))
        return texts.str.split(separator)
    if inner.is_integer():
        _refuse_vectors(file, column, values)
    else:
        _refuse_vectors(file, column, _as_vectors(values.cast(pl.List(pl.String)).list.join(",")))
    lists = values.cast(pl.List(pl.String))
    items = pl.DataFrame({ROW: table[ROW], "item": lists}).explode("item")
    _refuse_printed(file, column, items.filter(is_piece(pl.col("item"))))
    return lists


def _refuse_printed(file: Path, column: str, printed: pl.DataFrame) -> None:
    if printed.height:
        raise UserError(
            f"{file}, row {printed[ROW][0]}, field {column}: a list, set or object as a program prints it; write the "
            "labels with separators (a,b), or save the table as JSONL or Parquet with lists"
        )


def _as_vectors(cells: pl.Series) -> pl.Series:
    """Cells such as 1,0,1 as lists; none where any cell holds anything else."""
    given = cells.filter(cells.str.strip_chars() != "")
    return (given if given.str.contains(_VECTOR).all() else given.clear()).str.extract_all("[01]")


def _refuse_vectors(file: Path, column: str, lists: pl.Series) -> None:
    """A list of labels has no number twice; vectors of zeros and ones have, and are all of one length."""
    lengths = lists.drop_nulls().list.len()
    repeats = (lists.drop_nulls().list.n_unique() < lengths).any()
    if lengths.n_unique() == 1 and repeats:
        raise UserError(
            f"{file}, field {column}: holds vectors of numbers, all of one length, not lists of labels; "
            "give the labels whose number is 1"
        )


def feature_matrix(file: Path, table: pl.DataFrame, names: list[str]) -> np.ndarray:
    """(rows, features) float32.

    Raises:
        UserError: naming row and field of what is empty, no number or not finite.
    """
    for name in names:
        dtype = table[name].dtype
        if not (dtype.is_numeric() or dtype == pl.Boolean or dtype in _TEXTS):
            raise UserError(f"{file}, field {name}: holds {_kind_of(dtype)}, not numbers")
    numbers = table.select(
        (
            pl.col(name).cast(pl.String).str.strip_chars() if table[name].dtype in _TEXTS else pl.col(name)
        ).cast(pl.Float32, strict=False)
        for name in names
    )
    matrix = numbers.to_numpy()  # nulls become NaN
    bad = ~np.isfinite(matrix)
    if bad.any():
        place = int(bad.any(axis=0).argmax())
        row = int(bad[:, place].argmax())
        what = _what_is_no_number(table[names[place]][row], numbers[names[place]][row])
        raise UserError(f"{file}, row {table[ROW][row]}, field {names[place]}: {what}")
    return matrix


def _what_is_no_number(value: object, number: float | None) -> str:
    if value is None or not str(value).strip():
        return "empty; give a number, or leave the row out"
    return "not a number" if number is None else "not a finite number in single precision"


def _plain_texts(file: Path, table: pl.DataFrame, column: str) -> pl.Series:
    """Numbers as they are written."""
    values = table[column]
    if isinstance(values.dtype, _NOT_FLAT):
        raise UserError(f"{file}, field {column}: holds {_kind_of(values.dtype)}, not a text or a number")
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.dtype != pl.Binary:
        return values.cast(pl.String)
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError:
        row = next(r for r, value in zip(table[ROW], values, strict=True) if value and not _is_utf8(value))
        raise UserError(f"{file}, row {row}, field {column}: not UTF-8 text") from None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_words(
    file: Path,
    table: pl.DataFrame,
    column: str,
    texts: pl.Series,
    missing: MissingRule,
    *,
    signs: bool,
    remedy: str = _FILL,
) -> pl.Series:
    """The texts with null in place of words for a missing value, unless such are kept.

    Raises:
        UserError: there are some, and the rule is to refuse them.
    """
    if missing == "keep":
        return texts
    frame = table.select(ROW, texts.alias("text"))
    words = is_word(pl.col("text"), signs=signs)
    if missing == "empty":
        return frame.select(pl.when(~words).then("text").alias("text"))["text"]
    found = frame.filter(words)
    if found.height:
        raise UserError(
            f"{file}, row {found[ROW][0]}, field {column}: '{found['text'][0].strip()}' is a word for a missing value, "
            f"in {found[ROW].n_unique():,} rows; {remedy}, or give --missing keep if the word is meant"
        )
    return texts


def _filled(file: Path, table: pl.DataFrame, column: str, texts: pl.Series) -> pl.Series:
    empty = table.select(ROW, texts.alias("text")).filter(is_empty(pl.col("text")))
    if empty.height:
        raise UserError(f"{file}, row {empty[ROW][0]}, field {column}: empty")
    return texts


def _kind_of(dtype: pl.DataType) -> str:
    """A type without the field names of a struct, which are the user's words."""
    if isinstance(dtype, pl.List):
        return f"{dtype.base_type()}({dtype.inner.base_type()})"
    return str(dtype.base_type())
