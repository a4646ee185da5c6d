"""predictions.parquet: what a final predicted for the test inputs, beside their labels and its identity.

Columns: id, group (patient or image), scores (list of float32, one for each label), labels (list of int32,
rising). The identity of the final, its threshold and the data's fingerprint stand in the file's own metadata,
so that the file is finished, and knows what it is, in one rename.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.errors import UserError
from sdl_study.evaluation.metrics import multilabel_metrics
from sdl_study.evaluation.targets import Targets
from sdl_study.files import written_whole

if TYPE_CHECKING:
    import polars as pl
    from jaxtyping import Float, Int

FORMAT_VERSION = 1
METADATA_KEY = "sdl.final"
PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True, slots=True)
class FinalIdentity:
    """Which final a result belongs to; finals of equal seed numbers make pairs."""

    study: str
    arm: str
    stage: str
    seed_number: int
    role: str = "final"

    def to_record(self) -> dict[str, Any]:
        """As files hold it."""
        record = asdict(self)
        return record | {"seed": record.pop("seed_number")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FinalIdentity:
        """From a file's record, which may hold more.

        Raises:
            KeyError: a part is missing.
            TypeError: no record.
        """
        return cls(record["study"], record["arm"], record["stage"], record["seed"], record["role"])


@dataclass(frozen=True, slots=True)
class FinalHeader:
    """What a file of predictions says about itself: which final, and under which declaration and data."""

    identity: FinalIdentity
    declaration: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """A final's predictions, as read from or written to a file.

    Attributes:
        ids: row number of each example in the prepared data set.
        groups: its patient or image.
        scores: probabilities.
        targets: the test labels.
        identity: which final.
        declaration: SHA-256 of the declaration under which it was scored.
        fingerprint: of the prepared data set.
        code_version: of the program that scored it.
        threshold: chosen on dev; one number or one for each label.
    """

    ids: Int[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "n L"]
    targets: Targets
    identity: FinalIdentity
    declaration: str
    fingerprint: str
    code_version: str
    threshold: float | np.ndarray

    @property
    def header(self) -> FinalHeader:
        """Which final, declaration and data."""
        return FinalHeader(self.identity, self.declaration, self.fingerprint)

    def metrics(self) -> dict[str, float]:
        """All test metrics, over all labels, without a prefix."""
        return multilabel_metrics(self.scores, self.targets, threshold=self.threshold)


def write_predictions(path: Path, predictions: Predictions, *, private: bool) -> None:
    """Write the file, whole or not at all.

    Args:
        path: the file.
        predictions: its content.
        private: readable by the owner alone (restricted data).
    """
    import polars as pl

    scores = np.ascontiguousarray(predictions.scores, dtype=np.float32)
    labels = np.split(predictions.targets.columns, np.cumsum(predictions.targets.per_document)[:-1])
    table = pl.DataFrame(
        {
            "id": predictions.ids,
            "group": predictions.groups,
            "scores": pl.Series(scores, dtype=pl.Array(pl.Float32, scores.shape[1])).cast(
                pl.List(pl.Float32)
            ),
            "labels": pl.Series([part.tolist() for part in labels], dtype=pl.List(pl.Int32)),
        }
    )
    limit = predictions.threshold
    header = {
        "format_version": FORMAT_VERSION,
        "identity": predictions.identity.to_record(),
        "declaration": predictions.declaration,
        "fingerprint": predictions.fingerprint,
        "code_version": predictions.code_version,
        "threshold": limit.tolist() if isinstance(limit, np.ndarray) else float(limit),
        "num_labels": predictions.targets.shape[1],
    }
    with written_whole(path, private=private) as file:
        table.write_parquet(file, metadata={METADATA_KEY: json.dumps(header, sort_keys=True)})


def read_predictions(path: str | Path) -> Predictions:
    """Read a final's predictions; nothing else is opened.

    Raises:
        UserError: the file is missing, damaged, of another format, or no predictions of a final.
    """
    import polars as pl

    path = Path(path)
    header = _header(path)
    try:
        with path.open("rb") as file:  # in a path, polars takes [1], * and ~ for patterns
            table = pl.read_parquet(file)
        return _from_table(table, header)
    except (OSError, pl.exceptions.PolarsError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def read_header(path: str | Path) -> FinalHeader:
    """Which final a file holds, without its scores.

    Raises:
        UserError: as ``read_predictions``.
    """
    header = _header(Path(path))
    try:
        identity = FinalIdentity.from_record(header["identity"])
        return FinalHeader(identity, str(header["declaration"]), str(header["fingerprint"]))
    except (KeyError, TypeError) as error:
        raise _damaged(Path(path), error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: damaged predictions ({type(error).__name__}); delete the file and start the study again, which "
        "scores this final anew"
    )


def _header(path: Path) -> dict[str, Any]:
    import polars as pl

    if not path.is_file():
        raise UserError(f"{path}: no predictions here; they are written when a final is scored")
    try:
        with path.open("rb") as file:
            header = json.loads(pl.read_parquet_metadata(file).get(METADATA_KEY, "null"))
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        raise _damaged(path, error) from None
    if not isinstance(header, dict):
        raise UserError(f"{path}: not the predictions of a final (no {METADATA_KEY} in its metadata)")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format_version is {version!r}, this version reads {FORMAT_VERSION}")
    return header


def _from_table(table: pl.DataFrame, header: dict[str, Any]) -> Predictions:
    import polars as pl

    width = int(header["num_labels"])
    scores = table["scores"].cast(pl.Array(pl.Float32, width)).to_numpy()
    sizes = table["labels"].list.len().to_numpy().astype(np.int64)
    columns = table["labels"].explode().drop_nulls().to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(table.height), sizes)
    limit = header["threshold"]
    return Predictions(
        ids=table["id"].to_numpy().astype(np.int64),
        groups=table["group"].to_numpy().astype(np.int64),
        scores=scores,
        targets=Targets(rows, columns, (table.height, width)),
        identity=FinalIdentity.from_record(header["identity"]),
        declaration=str(header["declaration"]),
        fingerprint=str(header["fingerprint"]),
        code_version=str(header["code_version"]),
        threshold=np.asarray(limit, dtype=np.float64) if isinstance(limit, list) else float(limit),
    )


def metrics_from_predictions(path: str | Path) -> dict[str, float]:
    """All test metrics of a finished final, from its own file.

    Raises:
        UserError: as ``read_predictions``.
    """
    return read_predictions(path).metrics()
