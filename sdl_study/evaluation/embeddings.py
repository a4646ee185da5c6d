"""Embeddings of some test inputs, kept by finals of open data so that they can be looked at; without labels."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.errors import UserError
from sdl_study.files import written_whole

if TYPE_CHECKING:
    from jaxtyping import Float, Int

EMBEDDINGS_FILE = "test_embeddings.npz"
MOST_ROWS = 500
"""As many points as a figure shows apart."""


def some_places(count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Places of the test inputs whose embeddings are kept: all, or as many as are shown, drawn once for a study."""
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_ROWS, replace=False))


def save_embeddings(
    path: Path, rows: Int[np.ndarray, " n"], embeddings: Float[np.ndarray, "n width"]
) -> None:
    """Write row numbers and embeddings; on the disk when this returns."""
    with written_whole(path) as file:
        np.savez(file, rows=rows, embeddings=embeddings.astype(np.float32))


def read_embeddings(folder: Path) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n width"]] | None:
    """Row numbers and embeddings that a final left in its folder; None where it left none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / EMBEDDINGS_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["rows"], archive["embeddings"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}); delete it, and the map is left out"
        ) from None
