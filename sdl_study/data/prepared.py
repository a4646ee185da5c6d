"""The prepared data set: what every study reads, and the only form in which it reads data.

A folder written once by a pipeline (``sdl_study.data.writer.write_prepared``):

======================  =======================================================================
manifest.json           ``Manifest``: source, counts, split origin, terms, SHA-256 fingerprint
examples.parquet        id (row number), group, split, text | image + image_digest, labels
                        (list of label indices, null where split is "test")
features.npy            float32 [examples, features], only for modality "features"
labels.parquet          index, code, name, train_count, band
test_labels.parquet     id, labels: opened by the final evaluation only, never here
id_map.parquet          id, source_id, source_group: mode 0600, outside the fingerprint
roots.json              where the folders of images lie: outside the fingerprint
======================  =======================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sdl_study.data import parquet
from sdl_study.errors import UserError, note_terms

if TYPE_CHECKING:
    import polars as pl
    from jaxtyping import Int64

    from sdl_study.losses import LabelSets

FORMAT_VERSION = 1

Modality = Literal["text", "image", "features"]
Terms = Literal["open", "restricted"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Named here for its size alone. It may be kept elsewhere until a study's finals ask for it.
TEST_LABELS_FILE = "test_labels.parquet"

# A label's band by its number of training examples: head from 100, medium from 10, tail below.
BAND_FLOORS: tuple[tuple[str, int], ...] = (("head", 100), ("medium", 10), ("tail", 0))


def band_of(train_count: int) -> str:
    """Band ("head", "medium" or "tail") of a label with ``train_count`` training examples."""
    return next(name for name, floor in BAND_FLOORS if train_count >= floor)


@dataclass(frozen=True)
class SplitCounts:
    """Aggregates of one split; the only facts about test labels that are kept beside the data."""

    examples: int
    groups: int
    without_labels: int
    mean_labels: float
    labels_present: int


@dataclass(frozen=True)
class Manifest:
    """What a prepared data set says about itself.

    ``fingerprint`` is the SHA-256 of the content (``digests`` combined), the same on every machine for
    the same input. ``terms`` "restricted" keeps record-level files inside the study folder.
    ``leakage`` counts groups and duplicate inputs that stand in two splits.
    """

    name: str
    modality: Modality
    terms: Terms
    fingerprint: str
    num_labels: int
    counts: dict[str, SplitCounts]
    split_origin: str
    source: dict[str, Any]
    digests: dict[str, str]
    leakage: dict[str, dict[str, int]]
    file_bytes: dict[str, int]
    notes: list[str] = field(default_factory=list)
    num_features: int | None = None
    format_version: int = FORMAT_VERSION

    @property
    def num_examples(self) -> int:
        """Examples of all splits."""
        return sum(counts.examples for counts in self.counts.values())

    def to_json(self) -> str:
        """Stable JSON, as it stands in manifest.json."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str, path: Path) -> Manifest:
        """Read ``to_json``'s text back.

        Raises:
            UserError: not JSON, another format version, or fields missing.
        """
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}: damaged: not JSON (line {error.lineno}); prepare the data again"
            ) from None
        if not isinstance(record, dict):
            raise UserError(f"{path}: damaged: not a JSON object; prepare the data again")
        version = record.get("format_version")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path}: format_version is {version!r}, this version reads {FORMAT_VERSION}; "
                "prepare the data again"
            )
        names = {f.name for f in fields(Manifest)}
        if missing := sorted(names - record.keys()):
            raise UserError(f"{path}: damaged: field {missing[0]!r} is missing; prepare the data again")
        record = {key: value for key, value in record.items() if key in names}
        try:
            record["counts"] = {split: SplitCounts(**c) for split, c in record["counts"].items()}
        except (TypeError, AttributeError):
            raise UserError(f"{path}: damaged: field 'counts'; prepare the data again") from None
        return Manifest(**record)


class PreparedData:
    """A prepared data set opened for reading; inputs and labels are read on first use.

    ``labels`` gives train and dev labels. Test labels are not reachable from here: the final
    evaluation opens their file, after writing its ledger line.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def load(cls, path: str | Path) -> PreparedData:
        """Open the data set in folder ``path``; the test labels may lie elsewhere.

        Raises:
            UserError: the folder or one of its files is missing or damaged.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no prepared data set here; make one with python -m pipelines.<source>")
        manifest_path = path / "manifest.json"
        if not manifest_path.is_file():
            raise UserError(f"{path}: not a prepared data set: manifest.json is missing")
        try:
            text = manifest_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UserError(
                f"{manifest_path}: cannot be read as UTF-8 text; prepare the data again"
            ) from None
        manifest = Manifest.from_json(text, manifest_path)
        for name, expected in manifest.file_bytes.items():
            file = path / name
            if name == TEST_LABELS_FILE and not file.exists():
                continue
            if not file.is_file():
                raise UserError(f"{file}: missing; prepare the data again")
            if (size := file.stat().st_size) != expected:
                raise UserError(
                    f"{file}: damaged: {size} bytes where the manifest has {expected}; prepare the data again"
                )
        note_terms(manifest.terms)
        return cls(path, manifest)

    def rows(self, split: Split) -> Int64[np.ndarray, " n"]:
        """Row numbers (ids) of the examples of ``split``, ascending."""
        _known(split)
        return np.flatnonzero(self._index["split"].to_numpy() == split).astype(np.int64)

    def groups(self, split: Split) -> Int64[np.ndarray, " n"]:
        """Group number (patient, image) of every example of ``split``, in the order of ``rows``."""
        groups = self._index["group"].to_numpy().astype(np.int64)
        return groups[self.rows(split)]

    def labels(self, split: Split) -> LabelSets:
        """Label sets of train or dev, in the order of ``rows``.

        Raises:
            ValueError: ``split`` is "test"; test labels belong to the final evaluation alone.
        """
        _known(split)
        if split == "test":
            raise ValueError("test labels are opened by the final evaluation only")
        from sdl_study.losses import LabelSets

        lists = self._index["labels"].gather(self.rows(split))
        # The writer keeps every row ascending and without repetition, as CSR wants it.
        indptr = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy(), dtype=np.int64)])
        try:
            return LabelSets(indptr, lists.explode().drop_nulls().to_numpy(), self.manifest.num_labels)
        except ValueError as error:
            file = self.path / "examples.parquet"
            raise UserError(f"{file}: damaged: {error}; prepare the data again") from None

    @cached_property
    def label_table(self) -> pl.DataFrame:
        """labels.parquet: index, code, name, train_count, band."""
        table = self._read("labels.parquet")
        if table.height != self.manifest.num_labels:
            raise UserError(
                f"{self.path / 'labels.parquet'}: damaged: {table.height} labels where the manifest has "
                f"{self.manifest.num_labels}; prepare the data again"
            )
        return table

    @property
    def label_codes(self) -> list[str]:
        """Code of every label, by label index."""
        return self.label_table["code"].to_list()

    @property
    def label_names(self) -> list[str]:
        """Name of every label, by label index."""
        return self.label_table["name"].to_list()

    def texts(self, rows: Int64[np.ndarray, " n"] | None = None) -> list[str]:
        """Texts of ``rows`` (all examples when None); modality "text" only."""
        column = self._read("examples.parquet", ["text"])["text"]
        return (column if rows is None else column.gather(rows)).to_list()

    def iter_texts(self, batch: int, split: Split | None = None) -> Iterator[list[str]]:
        """Texts in batches by row number, of one split or of all; never all in memory at once."""
        import polars as pl

        scan = parquet.scan(self.path / "examples.parquet")
        for start in range(0, self.manifest.num_examples, batch):
            part = scan.slice(start, batch).select("text", "split").collect()
            yield (part if split is None else part.filter(pl.col("split") == split))["text"].to_list()

    def image_files(self, rows: Int64[np.ndarray, " n"] | None = None) -> list[Path]:
        """Image files of ``rows`` (all examples when None); modality "image" only.

        Raises:
            UserError: roots.json is missing or does not name a root that the examples use.
        """
        column = self._read("examples.parquet", ["image"])["image"]
        file = self.path / "roots.json"
        try:
            roots = {name: self.path / where for name, where in json.loads(file.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            raise UserError(f"{file}: missing or damaged; prepare the data again") from None
        images = []
        for image in (column if rows is None else column.gather(rows)).to_list():
            root, _, relative = image.partition("/")
            if root not in roots:
                raise UserError(f"{file}: image root {root!r} is not named; prepare the data again")
            images.append(roots[root] / relative)
        return images

    def image_digests(self) -> list[str]:
        """Digest of every example's image file when it was prepared (``image_files.image_digest``)."""
        return self._read("examples.parquet", ["image_digest"])["image_digest"].to_list()

    def features(self) -> np.ndarray:
        """Feature matrix, float32 [examples, features], memory-mapped; modality "features" only."""
        return np.load(self.path / "features.npy", mmap_mode="r")

    @cached_property
    def _index(self) -> pl.DataFrame:
        table = self._read("examples.parquet", ["id", "group", "split", "labels"])
        if table.height != self.manifest.num_examples:
            raise UserError(
                f"{self.path / 'examples.parquet'}: damaged: {table.height} examples where the manifest has "
                f"{self.manifest.num_examples}; prepare the data again"
            )
        return table

    def _read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        import polars as pl

        file = self.path / name
        try:
            return parquet.read(file, columns)
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = type(error).__name__
            raise UserError(
                f"{file}: damaged: not readable as Parquet ({reason}); prepare the data again"
            ) from None


def _known(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
