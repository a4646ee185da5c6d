"""Feature store: numeric features, standardised with the training split's mean and deviation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdl_study.data.cache import build_once, check_type, parse_settings, store_key
from sdl_study.data.disk import write_array
from sdl_study.files import write_json
from sdl_study.input_spec import INPUTS_FILE, InputSpec

if TYPE_CHECKING:
    from jaxtyping import Int64

    from sdl_study.data.prepared import PreparedData

_VERSION = 2
_BATCH = 65_536


@dataclass(frozen=True)
class FeatureSettings:
    """``standardise``: subtract the training mean and divide by the training deviation, feature by feature."""

    standardise: bool = True

    def __post_init__(self) -> None:
        check_type("standardise", self.standardise, bool)


class FeatureStore:
    """Features of every example, memory-mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = np.load(path / "features.npy", mmap_mode="r")
        self.spec = InputSpec.features(width=int(self._values.shape[1]))
        record = json.loads((path / "store.json").read_text())
        self._mean, self._scale = record["mean"], record["scale"]

    def __len__(self) -> int:
        return len(self._values)

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """features of the examples ``rows``, float32 [n, width]."""
        return {"features": torch.from_numpy(self._values[np.asarray(rows, dtype=np.int64)])}

    def save_processor(self, folder: Path) -> None:
        """Write what is subtracted from every feature, and by what it is divided; no library has a form for it."""
        write_json(folder / INPUTS_FILE, {"modality": "features", "mean": self._mean, "scale": self._scale})


def open_feature_store(
    prepared: PreparedData, settings: Mapping[str, Any] | FeatureSettings, cache_dir: Path
) -> FeatureStore:
    """The feature store of ``prepared``, built under ``cache_dir`` if it is not there.

    Raises:
        UserError: unknown or unusable setting, or a folder that cannot be written.
    """
    if not isinstance(settings, FeatureSettings):
        settings = parse_settings(FeatureSettings, settings)
    key = store_key("features", prepared.manifest.fingerprint, settings, _VERSION)
    return FeatureStore(build_once(Path(cache_dir), key, lambda folder: _build(folder, prepared, settings)))


def _build(folder: Path, prepared: PreparedData, settings: FeatureSettings) -> None:
    raw = prepared.features()
    mean, scale = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    if settings.standardise:
        train = np.asarray(raw[prepared.rows("train")], dtype=np.float64)
        mean, deviation = train.mean(axis=0), train.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)

    def values() -> Iterator[np.ndarray]:
        for start in range(0, len(raw), _BATCH):
            yield (raw[start : start + _BATCH] - mean) / scale

    write_array(folder / "features.npy", raw.shape, np.float32, values())
    record = {"settings": asdict(settings), "mean": mean.tolist(), "scale": scale.tolist()}
    write_json(folder / "store.json", record)
