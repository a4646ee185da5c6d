"""How large a data set is: what a study's cost follows from, known before the data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdl_study.data.prepared import Manifest, Modality


@dataclass(frozen=True)
class DataSizes:
    """Examples and labels of a data set.

    Attributes:
        name: of the data set, as it is shown.
        modality: what its examples are.
        train, dev, test: examples of the splits.
        labels: how many labels there are.
        features: numbers per example, of modality "features" alone.
    """

    name: str
    modality: Modality
    train: int
    dev: int
    test: int
    labels: int
    features: int = 0

    @property
    def examples(self) -> int:
        """Examples of all splits."""
        return self.train + self.dev + self.test

    @classmethod
    def of(cls, manifest: Manifest) -> DataSizes:
        """Those of a prepared data set."""
        train, dev, test = (manifest.counts[split].examples for split in ("train", "dev", "test"))
        features = manifest.num_features or 0
        return cls(manifest.name, manifest.modality, train, dev, test, manifest.num_labels, features)
