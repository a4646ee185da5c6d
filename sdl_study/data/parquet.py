"""Parquet files by their very path: to polars a bracket, a star or a leading ``~`` in one is a pattern.

``notes[v1]/examples.parquet`` would not be found, and ``notes*/examples.parquet`` read from other folders too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def read(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The file at ``path``, or some of its columns.

    Raises:
        OSError: there is no such file, or it cannot be read.
        polars.exceptions.PolarsError: it is damaged, or has no such column.
    """
    import polars as pl

    wanted = None if columns is None else list(columns)
    return pl.read_parquet(literal(path), columns=wanted, glob=False)


def scan(path: Path) -> pl.LazyFrame:
    """The file at ``path``, to be read in parts; raises as ``read`` does, when it is collected."""
    import polars as pl

    return pl.scan_parquet(literal(path), glob=False)


def write(table: pl.DataFrame, path: Path) -> None:
    """Write a table to ``path`` itself."""
    table.write_parquet(literal(path))


def literal(path: Path) -> Path:
    """The path as polars takes it for itself: without ``glob`` only the beginning of one means more than it says."""
    return path.absolute()
