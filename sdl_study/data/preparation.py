"""What a source hands to ``write_prepared``, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.data.prepared import SPLITS, Modality, Terms
from sdl_study.errors import UserError

INDEX_COLUMNS = ("source_id", "source_group", "split", "labels")


@dataclass(frozen=True)
class Preparation:
    """Everything of a data set but its inputs, as a pipeline hands it to ``write_prepared``.

    ``index`` has one row per example, in the order of the row numbers: source_id (str), source_group
    (str), split ("train" | "dev" | "test"), labels (list of indices into ``label_codes``).
    ``source`` says which pipeline with which options, without paths. ``roots`` names image folders.
    """

    name: str
    modality: Modality
    terms: Terms
    index: pl.DataFrame
    label_codes: Sequence[str]
    label_names: Sequence[str]
    split_origin: str
    source: Mapping[str, Any]
    notes: Sequence[str] = ()
    roots: Mapping[str, Path] = field(default_factory=dict)
    features: np.ndarray | None = None
    invocation: Mapping[str, Any] = field(default_factory=dict)


def refuse_unfit(prep: Preparation) -> None:
    """Look at what does not fit together; a source of one's own is told in one line.

    Raises:
        UserError: naming the part of the preparation, never its content.
    """
    for column in INDEX_COLUMNS:
        if column not in prep.index.columns:
            raise UserError(f"{prep.name}: the index has no column {column!r}")
        if prep.index[column].null_count():
            raise UserError(
                f"{prep.name}: field {column} of the index: null in some rows; labels may be empty lists"
            )
    if len(prep.label_codes) != len(prep.label_names):
        counts = f"{len(prep.label_codes)} label_codes and {len(prep.label_names)} label_names"
        raise UserError(f"{prep.name}: {counts}; give one name a code")
    if set(prep.index["split"].unique().to_list()) - set(SPLITS):
        raise UserError(f"{prep.name}: field split of the index: unknown; use train, dev or test")
    labels = prep.index["labels"]
    if not (
        isinstance(labels.dtype, pl.List)
        and (labels.dtype.inner.is_integer() or labels.dtype.inner == pl.Null)
    ):
        raise UserError(
            f"{prep.name}: field labels of the index: not lists of numbers (places in label_codes)"
        )
    numbers = labels.cast(pl.List(pl.Int64)).explode().drop_nulls()
    strange = numbers.filter((numbers < 0) | (numbers >= len(prep.label_codes)))
    if len(strange):
        raise UserError(
            f"{prep.name}: field labels of the index: {strange[0]} where there are {len(prep.label_codes)} labels "
            "(the first is 0)"
        )
    if (prep.features is not None) != (prep.modality == "features"):
        raise UserError(f"{prep.name}: features are given with modality 'features', and only then")
    if prep.features is not None and prep.features.shape[:1] != (prep.index.height,):
        raise UserError(
            f"{prep.name}: features of {len(prep.features)} rows for an index of {prep.index.height}"
        )
