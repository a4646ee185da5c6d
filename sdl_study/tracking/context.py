"""What every run of a study carries in MLflow beside its own results: the data that it read, the code that ran."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_GIT_DIRTY,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

_DIGEST = 16
"""Characters of the fingerprint; MLflow takes 36 at most, and shows them beside the name."""


@dataclass(frozen=True)
class DatasetContext:
    """The prepared data set as MLflow's interface shows it.

    Attributes:
        name: of the data set.
        fingerprint: SHA-256 of its content.
        source: what made it, words by name; no path of the machine.
        profile: what is said about it, words by name.
        columns: names and MLflow's types.
    """

    name: str
    fingerprint: str
    source: Mapping[str, str]
    profile: Mapping[str, str]
    columns: Sequence[tuple[str, str]]

    def input(self, use: str) -> DatasetInput:
        """The data set as an input of a run that used it for something ("training", "evaluation")."""
        columns = [{"name": name, "type": kind, "required": True} for name, kind in self.columns]
        dataset = Dataset(
            name=self.name,
            digest=self.fingerprint[:_DIGEST],
            source_type="code",  # MLflow's own word for data that a program made
            source=json.dumps({"tags": dict(self.source)}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(dict(self.profile)),
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, use)])


@dataclass(frozen=True)
class RunContext:
    """Of all runs of a study.

    Attributes:
        dataset: that they read.
        source: the file that defines the study, or the program that ran it.
        commit: of the code, in full; None where it is not known.
        changed: whether the code had changes that were not committed.
    """

    dataset: DatasetContext
    source: str
    commit: str | None = None
    changed: bool = False

    def tags(self) -> dict[str, Any]:
        """Source and version as MLflow's interface reads them."""
        found = {MLFLOW_SOURCE_TYPE: "LOCAL", MLFLOW_SOURCE_NAME: self.source}
        if self.commit is not None:
            found |= {MLFLOW_GIT_COMMIT: self.commit, MLFLOW_GIT_DIRTY: str(self.changed).lower()}
        return found
