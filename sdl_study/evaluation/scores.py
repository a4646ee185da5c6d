"""The scores of the test inputs, as a final or control leaves them in its folder: whole, or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.files import written_whole

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SCORES_FILE = "test_scores.npz"


def save_scores(path: Path, rows: Int[np.ndarray, " n"], scores: Float[np.ndarray, "n L"]) -> None:
    """Write rows and probabilities of the test inputs; on the disk when this returns."""
    with written_whole(path) as file:
        np.savez(file, rows=rows, scores=scores.astype(np.float32))


def read_scores(path: Path) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n L"]]:
    """Rows and probabilities that ``save_scores`` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return archive["rows"].astype(np.int64), archive["scores"].astype(np.float32)


def has_scores(folder: Path) -> bool:
    """Whether a folder holds the scores, to their end: a file that is empty or cut off does not count."""
    return zipfile.is_zipfile(folder / SCORES_FILE)
