"""The fingerprint of a prepared data set: SHA-256 over its values, the same on every machine."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.data import parquet
from sdl_study.data.prepared import SPLITS, Modality

INPUT_COLUMNS: dict[Modality, dict[str, type[pl.DataType]]] = {
    "text": {"text": pl.String},
    "image": {"image": pl.String, "image_digest": pl.String},
    "features": {},
}
ROW_GROUP = 4_096


def examples_digest(path: Path, modality: Modality) -> str:
    """The digest ``examples`` of the manifest, computed again from an examples.parquet."""
    hashing = ExampleHashing(modality)
    scan = parquet.scan(path)
    height = scan.select(pl.len()).collect().item()
    for start in range(0, height, ROW_GROUP):
        hashing.add(scan.slice(start, ROW_GROUP).collect())
    return hashing.hexdigest()


def features_digest(features: np.ndarray) -> str:
    """The digest ``features`` of the manifest; ``features`` is float32 [n, d] in C order."""
    sha = hashlib.sha256(repr(features.shape).encode())
    for start in range(0, len(features), ROW_GROUP):
        sha.update(features[start : start + ROW_GROUP].tobytes())
    return sha.hexdigest()


def labels_digest(codes: Sequence[str], names: Sequence[str]) -> str:
    """The digest ``labels`` of the manifest."""
    return digest(zip(codes, names, strict=True))


class ExampleHashing:
    """SHA-256 over the rows of examples.parquet, and how often an input stands in two splits.

    The digest is taken over the values, not over the file: Parquet's bytes change with its writer.
    """

    def __init__(self, modality: Modality) -> None:
        self._sha = hashlib.sha256()
        self._columns = list(INPUT_COLUMNS[modality])
        self._seen: dict[bytes, int] = {}

    def add(self, chunk: pl.DataFrame) -> None:
        """Take in the next rows."""
        records = chunk.select("id", "group", "split", "labels", *self._columns[:-1]).iter_rows()
        if not self._columns:
            for record in records:
                _update(self._sha, record)
            return
        # The long value goes in by its own digest, so that a text is hashed once for both purposes.
        for record, value in zip(records, chunk[self._columns[-1]].cast(pl.Binary), strict=True):
            content = hashlib.sha256(value).digest()
            _update(self._sha, (*record, content.hex()))
            self._see(content, record[2])

    def add_feature_rows(self, index: pl.DataFrame, features: np.ndarray) -> None:
        """Count duplicate feature rows."""
        for split, row in zip(index["split"].to_list(), features, strict=True):
            self._see(hashlib.sha256(row.tobytes()).digest(), split)

    def _see(self, digest: bytes, split: str) -> None:
        key = digest[:16]
        self._seen[key] = self._seen.get(key, 0) | 1 << SPLITS.index(split)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()

    def duplicates(self) -> dict[str, int]:
        """Different inputs that stand in both splits of a pair, like {"train-test": 2}."""
        return split_pairs(self._seen.values())


def split_pairs(masks: Iterable[int]) -> dict[str, int]:
    masks = [mask for mask in masks if mask & (mask - 1)]
    pairs = [(a, b) for a in range(len(SPLITS)) for b in range(a + 1, len(SPLITS))]
    return {
        f"{SPLITS[a]}-{SPLITS[b]}": sum(1 for mask in masks if mask >> a & 1 and mask >> b & 1)
        for a, b in pairs
    }


def digest(records: Iterable[Sequence[Any]]) -> str:
    sha = hashlib.sha256()
    for record in records:
        _update(sha, record)
    return sha.hexdigest()


def _update(sha: Any, record: Sequence[Any]) -> None:
    """Each value behind its length, so that no two different records give the same bytes."""
    parts = [str(value).encode() for value in record]
    sha.update(struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        sha.update(part)
