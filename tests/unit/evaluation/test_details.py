"""Details of a final: bands as the table has them, calibration as counted by hand, kept and read back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sdl_study.evaluation.details import BIN_EDGES, DETAILS_FILE, details_of, make_details
from sdl_study.evaluation.predictions import FinalIdentity, Predictions, write_predictions
from sdl_study.evaluation.tables import band_table
from sdl_study.evaluation.targets import Targets

BANDS = ["head"] * 3 + ["tail"] * 2


def predictions(threshold: float | np.ndarray = 0.5) -> Predictions:
    rng = np.random.default_rng(3)
    truth = rng.random((40, 5)) < 0.3
    rows, columns = np.nonzero(truth)
    scores = np.clip(0.3 * truth + rng.random(truth.shape) * 0.7, 0, 1).astype(np.float32)
    return Predictions(
        np.arange(40), np.arange(40) // 2, scores, Targets(rows, columns, (40, 5)),
        FinalIdentity("s", "sd", "probe", 0), "d" * 64, "f" * 64, "1", threshold,
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [0.5, np.array([0.4, 0.5, 0.6, 0.3, 0.7])])
def test_the_first_value_of_a_band_is_that_of_the_table(threshold: float | np.ndarray) -> None:
    details = make_details(predictions(threshold), BANDS)
    assert details.bands == ("head", "tail")
    np.testing.assert_allclose(
        details.macro_f1[:, 0], band_table(details.labels, BANDS)["macro_f1"].to_numpy()
    )
    assert (details.macro_f1[:, 1:].std(axis=1) > 0).all()
    assert (details.documents, details.groups) == (40, 20)


def test_calibration_counts_cells_by_their_scores() -> None:
    final = predictions()
    details = make_details(final, BANDS)
    for at, (low, high) in enumerate(pairwise(BIN_EDGES)):
        inside = (final.scores >= low) & ((final.scores < high) | (high == 1.0))
        true = inside[final.targets.rows, final.targets.columns]
        assert (details.cells[at], details.positives[at]) == (inside.sum(), true.sum())
        if inside.any():
            assert details.mean_score[at] == pytest.approx(float(final.scores[inside].mean()), rel=1e-5)
    assert details.cells.sum() == final.scores.size


def test_they_are_read_back_as_they_were_computed(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, predictions(), private=True)
    first = details_of(path, BANDS, private=True)
    kept = (tmp_path / DETAILS_FILE).stat()
    assert kept.st_mode & 0o777 == 0o600
    again = details_of(path, BANDS, private=True)
    assert (tmp_path / DETAILS_FILE).stat().st_mtime_ns == kept.st_mtime_ns
    assert again.labels.equals(first.labels)
    np.testing.assert_array_equal(again.macro_f1, first.macro_f1)
    np.testing.assert_array_equal(again.share_error, first.share_error)
    other = details_of(path, ["tail"] * 5, private=True)
    assert other.bands == ("tail",)


def test_bands_of_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bands for 5 labels"):
        make_details(predictions(), BANDS[:4])
