"""Metrics label by label, by band of label frequency, and under the names that the COCO literature uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.metrics import statistics as of
from sdl_study.evaluation.metrics.ranking import row_ranks
from sdl_study.evaluation.metrics.values import label_counts, pooled
from sdl_study.evaluation.targets import as_pair
from sdl_study.evaluation.thresholds import above

if TYPE_CHECKING:
    import polars as pl
    from jaxtyping import Bool, Float

    from sdl_study.evaluation.targets import Labels, Scores

BANDS = ("head", "medium", "tail")


def per_label_table(scores: Scores, labels: Labels, *, threshold: float | np.ndarray) -> pl.DataFrame:
    """One row per label: index, positives, predicted, hits, precision, recall, f1, auc, average_precision.

    precision, recall and f1 are 0 where nothing is predicted or positive; auc and average_precision are null
    where the label lacks a class, so that the mean of a column is the macro average of the same name.

    Raises:
        ValueError: as ``multilabel_metrics``.
    """
    import polars as pl

    array, targets = as_pair(scores, labels)
    counts = label_counts(above(array, threshold), targets)
    ranks = row_ranks(np.ascontiguousarray(array.T), targets.columns, targets.rows)
    table = pl.DataFrame(
        {
            "index": np.arange(targets.shape[1]),
            "positives": counts.positives,
            "predicted": counts.predicted,
            "hits": counts.hits,
            "precision": of.precision(counts),
            "recall": of.recall(counts),
            "f1": of.f1(counts),
            "auc": of.roc_auc(ranks),
            "average_precision": of.average_precision(ranks),
        }
    )
    return table.with_columns(pl.col("auc", "average_precision").fill_nan(None))


def band_table(table: pl.DataFrame, bands: Sequence[str]) -> pl.DataFrame:
    """Metrics of each band of labels, from a per-label table.

    Args:
        table: from ``per_label_table``.
        bands: the band of every label, by label index (column ``band`` of labels.parquet).

    Returns:
        One row per band that occurs, head first: band, labels, labels_present (with a positive here),
        positives, micro_f1, macro_f1, macro_f1_present, macro_auc, map; null where no label defines a metric.

    Raises:
        ValueError: another number of labels.
    """
    import polars as pl

    if len(bands) != table.height:
        raise ValueError(f"{len(bands)} bands for {table.height} labels")
    present = pl.col("positives") > 0
    guessed_or_true = pl.col("predicted").sum() + pl.col("positives").sum()
    order = {band: place for place, band in enumerate(BANDS)}
    found = table.with_columns(pl.Series("band", list(bands), dtype=pl.String)).group_by("band").agg(
        pl.len().alias("labels"),
        present.sum().alias("labels_present"),
        pl.col("positives").sum(),
        (2 * pl.col("hits").sum() / pl.max_horizontal(guessed_or_true, pl.lit(1))).alias("micro_f1"),
        pl.col("f1").mean().alias("macro_f1"),
        pl.col("f1").filter(present).mean().alias("macro_f1_present"),
        pl.col("auc").mean().alias("macro_auc"),
        pl.col("average_precision").mean().alias("map"),
    )  # fmt: skip
    place = pl.col("band").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    return found.sort(place, pl.col("band"))


def coco_metrics(scores: Scores, labels: Labels, *, threshold: float | np.ndarray = 0.5) -> dict[str, float]:
    """The multi-label COCO literature's names: mAP, CP, CR, CF1, OP, OR, OF1 and the last six for the top 3.

    CP and CR average over labels, CF1 = 2·CP·CR/(CP+CR); OP, OR and OF1 pool all cells. In the ``_top3``
    forms a label is predicted if it is among an image's three highest scores and above the threshold (the
    evaluation code of Chen et al. 2019, ML-GCN, which the later papers took over). mAP is ``map``:
    non-interpolated, over the labels with a positive.

    Raises:
        ValueError: as ``multilabel_metrics``.
    """
    array, targets = as_pair(scores, labels)
    ranks = row_ranks(np.ascontiguousarray(array.T), targets.columns, targets.rows)
    predictions = above(array, threshold)
    found = {"mAP": float(of.mean(of.average_precision(ranks)))}
    for suffix, predicted in (("", predictions), ("_top3", predictions & _highest(array, 3))):
        counts = label_counts(predicted, targets)
        overall = pooled(counts)
        p, r = of.mean(of.precision(counts)), of.mean(of.recall(counts))
        values = {
            "CP": p, "CR": r, "CF1": of.harmonic(p, r),
            "OP": of.mean(of.precision(overall)), "OR": of.mean(of.recall(overall)), "OF1": of.mean(of.f1(overall)),
        }  # fmt: skip
        found |= {f"{name}{suffix}": float(value) for name, value in values.items()}
    return found


def _highest(scores: Float[np.ndarray, "n L"], k: int) -> Bool[np.ndarray, "n L"]:
    """The k highest scores of each row; of equal ones the lower column first."""
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
    return chosen
