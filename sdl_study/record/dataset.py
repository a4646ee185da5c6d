"""The prepared data set of a study as a reader finds it: aggregates, labels' names, the ledger; never a record.

The data layer opens whole data sets and reaches torch; a report needs the manifest's aggregates alone, and must do
without them where the folder was moved since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import LedgerLine, read_ledger
from sdl_study.files import read_json
from sdl_study.record.files import StudyFiles

if TYPE_CHECKING:
    import polars as pl

_MANIFEST, _LABELS, _TEST_LABELS = "manifest.json", "labels.parquet", "test_labels.parquet"
_LABEL_COLUMNS = ("index", "code", "name", "train_count", "band")


@dataclass(frozen=True)
class DatasetRecord:
    """What a reader may know of a prepared data set.

    Attributes:
        folder: where it lies.
        manifest: manifest.json.
        ledger: every opening of its test labels, by whatever study.
        has_test_labels: whether their file is there; it is not opened.
    """

    folder: Path
    manifest: Mapping[str, Any]
    ledger: tuple[LedgerLine, ...]
    has_test_labels: bool

    def labels(self) -> pl.DataFrame:
        """One row per label, by index: index, code, name, train_count, band.

        Raises:
            UserError: the file is missing or damaged.
        """
        import polars as pl

        path = self.folder / _LABELS
        try:
            with path.open("rb") as file:  # in a path, polars takes [1], * and ~ for patterns
                return pl.read_parquet(file, columns=list(_LABEL_COLUMNS)).sort("index")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{path}: damaged ({type(error).__name__}); prepare the data again") from None


def find_dataset(files: StudyFiles, identity: Mapping[str, Any]) -> DatasetRecord | None:
    """The data set with a study's fingerprint, where the study read it; None where it is not there any more.

    Args:
        files: of the study.
        identity: its study.json.

    Raises:
        UserError: its ledger cannot be read.
    """
    for path in _manifests(files, identity["settings"]["data"]["path"]):
        manifest = read_json(path)
        if isinstance(manifest, dict) and manifest.get("fingerprint") == identity.get("data_fingerprint"):
            folder = path.parent
            has_labels = (folder / _TEST_LABELS).is_file()
            return DatasetRecord(folder, manifest, tuple(read_ledger(folder)), has_labels)
    return None


def _manifests(files: StudyFiles, given: str | None) -> Iterator[Path]:
    """The manifest of the folder that the settings name, then those that pipelines made for these studies."""
    if given is not None and (found := Path(given) / _MANIFEST).is_file():
        yield found
    yield from sorted(files.data.glob(f"*/*/{_MANIFEST}"))
