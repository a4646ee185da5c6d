"""What a final's predictions tell beyond one number: label by label, by band of label frequency, calibration.

Everything is computed once from predictions.parquet and kept beside it, readable by the owner alone where the
predictions are: thousands of labels take seconds a final. Uncertainty over patients comes from bootstrap replicates
that all finals of the same test inputs share, so that differences of finals are paired.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.metrics import weighted_metric
from sdl_study.evaluation.predictions import Predictions, read_predictions
from sdl_study.evaluation.tables import BANDS, per_label_table
from sdl_study.evaluation.thresholds import as_threshold
from sdl_study.evaluation.verdict import group_weights
from sdl_study.files import written_whole

if TYPE_CHECKING:
    import polars as pl
    from jaxtyping import Float, Int

DETAILS_FILE = "details.npz"
REPLICATES = 400
BIN_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_FORMAT = 1
_COUNTS = ("index", "positives", "predicted", "hits")
_VALUES = ("precision", "recall", "f1", "auc", "average_precision")


@dataclass(frozen=True)
class FinalDetails:
    """The details of one final.

    Attributes:
        labels: one row per label, from ``per_label_table``.
        bands: the bands that occur, head first.
        macro_f1: of each band [b, 1 + r]: over the test inputs, then over each replicate of the patients.
        documents, groups: of the test split.
        cells, positives: of each bin of scores between ``BIN_EDGES``.
        mean_score: of the bin's cells; NaN where it has none.
        share_error: standard error, over patients, of the share of positives among a bin's cells.
    """

    labels: pl.DataFrame
    bands: tuple[str, ...]
    macro_f1: Float[np.ndarray, "b values"]
    documents: int
    groups: int
    cells: Int[np.ndarray, " bins"]
    positives: Int[np.ndarray, " bins"]
    mean_score: Float[np.ndarray, " bins"]
    share_error: Float[np.ndarray, " bins"]


def details_of(predictions: Path, bands: Sequence[str], *, private: bool) -> FinalDetails:
    """The details of a final, read where they were kept, else computed and kept.

    Args:
        predictions: its predictions.parquet.
        bands: the band of every label.
        private: readable by the owner alone (restricted data).

    Raises:
        UserError: as ``read_predictions``.
        ValueError: another number of labels.
    """
    path = predictions.with_name(DETAILS_FILE)
    state = predictions.stat()
    key = json.dumps([_FORMAT, REPLICATES, state.st_size, state.st_mtime_ns, list(bands)])
    kept = _read(path, key)
    if kept is not None:
        return kept
    found = make_details(read_predictions(predictions), bands)
    _write(path, found, key, private=private)
    return found


def make_details(final: Predictions, bands: Sequence[str]) -> FinalDetails:
    """Compute the details of a final.

    Raises:
        ValueError: another number of labels than bands.
    """
    width = final.targets.shape[1]
    if len(bands) != width:
        raise ValueError(f"{len(bands)} bands for {width} labels")
    drawn, groups = group_weights(final.groups, REPLICATES, 0)
    weights = np.concatenate([np.ones((1, final.ids.size)), drawn])
    names = [band for band in BANDS if band in bands]
    cells, positives, mean_score, share_error = _calibration(final, weights)
    return FinalDetails(
        labels=per_label_table(final.scores, final.targets, threshold=final.threshold),
        bands=tuple(names),
        macro_f1=np.stack([_of_band(final, np.array(bands) == band, weights) for band in names]),
        documents=final.ids.size,
        groups=groups,
        cells=cells,
        positives=positives,
        mean_score=mean_score,
        share_error=share_error,
    )


def _of_band(
    final: Predictions, inside: np.ndarray, weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    threshold = as_threshold(final.threshold, inside.size)
    own = threshold[inside] if threshold.ndim else threshold
    return weighted_metric("macro_f1", final.scores[:, inside], final.targets.restrict(inside), own)(weights)


def _calibration(
    final: Predictions, weights: Float[np.ndarray, "r n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells, positives, mean score and error of the share of positives, by bin of scores."""
    bins = len(BIN_EDGES) - 1
    documents = final.ids.size
    of_cell = np.clip(np.searchsorted(BIN_EDGES, final.scores, side="right") - 1, 0, bins - 1)
    place = np.arange(documents)[:, None] * bins + of_cell
    cells = np.bincount(place.ravel(), minlength=documents * bins).reshape(documents, bins)
    true = place[final.targets.rows, final.targets.columns]
    positives = np.bincount(true, minlength=documents * bins).reshape(documents, bins)
    total = np.bincount(of_cell.ravel(), weights=final.scores.ravel(), minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (weights[1:] @ positives) / (weights[1:] @ cells)
        mean_score = total / cells.sum(axis=0)
    error = np.array(
        [column[np.isfinite(column)].std() if np.isfinite(column).any() else np.nan for column in shares.T]
    )
    return cells.sum(axis=0), positives.sum(axis=0), mean_score, error


def _write(path: Path, details: FinalDetails, key: str, *, private: bool) -> None:
    table: dict[str, Any] = {
        f"label_{name}": details.labels[name].to_numpy() for name in (*_COUNTS, *_VALUES)
    }
    with written_whole(path, private=private) as file:
        np.savez_compressed(
            file, key=np.array(key), bands=np.array(details.bands), macro_f1=details.macro_f1,
            size=np.array([details.documents, details.groups]), cells=details.cells,
            positives=details.positives, mean_score=details.mean_score, share_error=details.share_error,
            **table,
        )  # fmt: skip


def _read(path: Path, key: str) -> FinalDetails | None:
    """What was kept under this key; None where there is nothing, something older, or half a file."""
    import polars as pl

    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            columns = {name: kept[f"label_{name}"] for name in (*_COUNTS, *_VALUES)}
            table = pl.DataFrame(columns).with_columns(pl.col("auc", "average_precision").fill_nan(None))
            size = kept["size"]
            parts = {
                name: kept[name]
                for name in ("macro_f1", "cells", "positives", "mean_score", "share_error")
            }  # fmt: skip
            bands = tuple(str(band) for band in kept["bands"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return FinalDetails(table, bands, documents=int(size[0]), groups=int(size[1]), **parts)
