"""Scoring a final: the only code that opens the labels of the test split.

The order matters and is the protocol's: everything that can be wrong is checked first, then one line goes
into the ledger and onto the disk, then the labels are opened, then predictions.parquet is written. Whoever
wants the test metrics again reads that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from sdl_study.data.fingerprint import digest
from sdl_study.data.prepared import TEST_LABELS_FILE, PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import append_line
from sdl_study.evaluation.predictions import (
    PREDICTIONS_FILE,
    FinalIdentity,
    Predictions,
    read_header,
    read_predictions,
    write_predictions,
)
from sdl_study.evaluation.targets import Targets
from sdl_study.evaluation.thresholds import as_threshold

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def score_final(
    prepared_dir: str | Path,
    scores_path: str | Path | Sequence[str | Path],
    final: FinalIdentity,
    *,
    declaration_sha: str,
    code_version: str,
    threshold: float | Float[np.ndarray, " L"],
    out_dir: str | Path,
    opening: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Score one final on the test labels, or read what an earlier call wrote.

    A finished final is never scored again: predictions of the same final under the same declaration in
    ``out_dir`` are read and nothing is opened. Predictions of another final or declaration that lie there are
    kept under ``predictions-superseded-<declaration>.parquet``.

    Args:
        prepared_dir: the prepared data set.
        scores_path: scores of the test inputs, one file or several parts (.npz with ``rows`` [n] and
            ``scores`` [n, L]).
        final: which final.
        declaration_sha: SHA-256 of the declaration in force.
        code_version: version of this program.
        threshold: chosen on dev; one number or one for each label.
        out_dir: where predictions.parquet goes.
        opening: called after the ledger was written and before the labels are opened; raises to keep them closed.

    Returns:
        All test metrics, without a prefix.

    Raises:
        UserError: scores that do not belong to these test inputs, test labels that are missing or damaged, a
            ledger or a folder that cannot be written.
        ValueError: a threshold that is NaN, or neither one number nor one per label.
    """
    path = Path(out_dir) / PREDICTIONS_FILE
    if path.exists():
        finished = read_predictions(path)
        if finished.identity == final and finished.declaration == declaration_sha:
            return finished.metrics()
    data = PreparedData.load(prepared_dir)
    as_threshold(threshold, data.manifest.num_labels)
    ids, scores = _read_scores(scores_path, data)
    require_test_labels(data.path)
    _prepare_folder(path)
    facts = {
        "fingerprint": data.manifest.fingerprint,
        "declaration": declaration_sha,
        "code_version": code_version,
    }
    append_line(data.path, final, **facts)
    opening()
    targets = _open_test_labels(data, ids)
    predictions = Predictions(ids, data.groups("test"), scores, targets, final, threshold=threshold, **facts)
    metrics = predictions.metrics()
    if path.exists():
        path.replace(path.with_name(f"predictions-superseded-{read_header(path).declaration[:12]}.parquet"))
    write_predictions(path, predictions, private=data.manifest.terms == "restricted")
    return metrics


def has_test_labels(prepared_dir: str | Path) -> bool:
    """Whether the file of the test labels is there; it is not opened."""
    return (Path(prepared_dir) / TEST_LABELS_FILE).is_file()


def require_test_labels(prepared_dir: str | Path) -> None:
    """Refuse to go on without the file of the test labels; it is not opened.

    Raises:
        UserError: names the file.
    """
    path = Path(prepared_dir) / TEST_LABELS_FILE
    if not has_test_labels(prepared_dir):
        raise UserError(f"{path}: missing, so no final can be scored; put it back and start the study again")


def _prepare_folder(path: Path) -> None:
    """An output folder that cannot be written must not cost an opening of the labels."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made ({error.strerror})") from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{path.parent}: no permission to write predictions here")


def _read_scores(
    paths: str | Path | Sequence[str | Path], data: PreparedData
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n L"]]:
    """Scores of exactly the test inputs, by rising row number."""
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    parts = [_read_part(path, data.manifest.num_labels) for path in files]
    rows = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    ids = data.rows("test")
    where = ", ".join(str(path) for path in files)
    if not np.array_equal(rows[order], ids):
        raise UserError(f"{where}: {rows.size} scored rows are not the {ids.size} test inputs of {data.path}")
    scores = np.concatenate([part[1] for part in parts])[order]
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise UserError(f"{where}: scores are not all probabilities")
    return ids, scores


def _read_part(path: Path, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            rows, scores = archive["rows"].astype(np.int64), archive["scores"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise UserError(
            f"{path}: no readable scores of test inputs ({type(error).__name__}); delete its folder and start the "
            "study again, which runs this final anew"
        ) from None
    if scores.shape != (rows.size, num_labels):
        raise UserError(f"{path}: scores are {scores.shape}, expected ({rows.size}, {num_labels})")
    return rows, scores


def _open_test_labels(data: PreparedData, ids: Int[np.ndarray, " n"]) -> Targets:
    import polars as pl

    path = data.path / TEST_LABELS_FILE
    try:
        with path.open("rb") as file:  # in a path, polars takes [1], * and ~ for patterns
            table = pl.read_parquet(file, columns=["id", "labels"]).sort("id")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}); prepare the data again") from None
    if not np.array_equal(table["id"].to_numpy(), ids):
        raise UserError(f"{path}: does not hold the labels of these test inputs; prepare the data again")
    # Other labels under the same ids would give numbers that nobody could tell from the right ones.
    if digest(table.iter_rows()) != data.manifest.digests.get("test_labels"):
        raise UserError(f"{path}: differs from the manifest; prepare the data again")
    sizes = table["labels"].list.len().fill_null(0).to_numpy().astype(np.int64)
    columns = table["labels"].explode().drop_nulls().to_numpy().astype(np.int64)
    if columns.size and not (columns.min() >= 0 and columns.max() < data.manifest.num_labels):
        raise UserError(
            f"{path}: a label index lies outside 0…{data.manifest.num_labels - 1}; prepare the data again"
        )
    return Targets(np.repeat(np.arange(ids.size), sizes), columns, (ids.size, data.manifest.num_labels))
