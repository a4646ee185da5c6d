"""The mix of label relations in batches that a trial recorded (``train.record_batches``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.record.files import StudyFiles
from sdl_study.record.relations import RELATIONS, relations_of

if TYPE_CHECKING:
    import polars as pl
    from jaxtyping import Int
    from scipy.sparse import csr_array

_MOST_BATCHES = 200


def mix_of_batches(files: StudyFiles, numbers: Sequence[int], prepared: Path) -> pl.DataFrame | None:
    """One row per relation: relation, pairs, share (over all batches), low, high (of the middle 95%), batches.

    Args:
        files: of the study.
        numbers: of its trials; the first that recorded its batches tells.
        prepared: folder of the prepared data set, whose training label sets are read.

    Returns:
        None where no trial recorded a batch of two rows.
    """
    import polars as pl

    batches = _batches(files, numbers)
    if not batches:
        return None
    wanted = np.unique(np.concatenate(batches))
    sets = _label_sets(prepared, wanted)
    pairs = np.stack([_count(sets[np.searchsorted(wanted, rows)]) for rows in batches])
    shares = pairs / pairs.sum(axis=1, keepdims=True)
    return pl.DataFrame(
        {
            "relation": RELATIONS,
            "pairs": pairs.sum(axis=0),
            "share": pairs.sum(axis=0) / pairs.sum(),
            "low": np.percentile(shares, 2.5, axis=0),
            "high": np.percentile(shares, 97.5, axis=0),
            "batches": [len(batches)] * len(RELATIONS),
        }
    )


def _batches(files: StudyFiles, numbers: Iterable[int]) -> list[Int[np.ndarray, " _"]]:
    """Row numbers of the first batches of the first trial that recorded any, ranks put together."""
    for number in numbers:
        found: dict[tuple[int, int], list[int]] = {}
        for path in sorted(files.trial(number).glob("batches-*.jsonl")):
            with path.open(encoding="utf-8") as file:
                # A line without its end was being written when its process was killed.
                whole = (json.loads(line) for line in file if line.endswith("\n"))
                for line in islice(whole, _MOST_BATCHES):
                    found.setdefault((line["epoch"], line["step"]), []).extend(line["rows"])
        batches = [np.unique(rows) for rows in found.values() if len(set(rows)) > 1]
        if batches:
            return batches[:_MOST_BATCHES]
    return []


def _label_sets(prepared: Path, rows: Int[np.ndarray, " n"]) -> csr_array:
    """Label sets [n, L] of some training examples."""
    import polars as pl
    from scipy.sparse import csr_array

    path = prepared / "examples.parquet"
    with path.open("rb") as file:  # in a path, polars takes [1], * and ~ for patterns
        table = pl.read_parquet(file, columns=["id", "labels"])
    own = table.filter(pl.col("id").is_in(rows.tolist())).sort("id")["labels"]
    sizes = own.list.len().fill_null(0).to_numpy().astype(np.int64)
    columns = own.explode().drop_nulls().to_numpy().astype(np.int64)
    width = int(columns.max(initial=0)) + 1
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((np.ones(columns.size, dtype=np.int64), columns, indptr), shape=(sizes.size, width))


def _count(sets: csr_array) -> Int[np.ndarray, " 5"]:
    """Ordered pairs of different rows by their relation."""
    found = relations_of(sets)
    return np.bincount(found[~np.eye(len(found), dtype=bool)], minlength=len(RELATIONS))
