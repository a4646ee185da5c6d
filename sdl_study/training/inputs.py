"""What a worker reads: the prepared data set and its store, opened once per process and shared by all its jobs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdl_study.budget import FEW_DEV
from sdl_study.config import Settings
from sdl_study.data.folds import Fold, dev_of_fold, one_after_another
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.input_spec import InputSpec
from sdl_study.losses import LabelSets
from sdl_study.seeds import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True)
class Inputs:
    """Rows, train and dev labels and the store of one prepared data set. Test labels are not here.

    Attributes:
        are_open: whether the data's terms let single records be looked at.
    """

    store: Any
    train_rows: Int[np.ndarray, " train"]
    dev_rows: Int[np.ndarray, " dev"]
    test_rows: Int[np.ndarray, " test"]
    train_labels: LabelSets
    dev_labels: LabelSets
    are_open: bool = False

    @property
    def spec(self) -> InputSpec:
        """Shape of one example."""
        return self.store.spec

    def by_length(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Places of the rows, texts of like length together (they are padded to the longest of a batch)."""
        lengths = getattr(self.store, "lengths", None)
        return np.arange(len(rows)) if lengths is None else np.argsort(lengths(rows), kind="stable")

    def longest(self, count: int) -> Int[np.ndarray, " _"]:
        """The rows of train that take most memory."""
        return self.train_rows[self.by_length(self.train_rows)[::-1][:count]]

    def batches(
        self, rows: Int[np.ndarray, " n"], most_rows: int, most_tokens: int
    ) -> Iterator[Int[np.ndarray, " _"]]:
        """Places of the rows by batches, texts of like length together.

        A batch has at most ``most_rows`` rows and, padded to its longest text, ``most_tokens`` tokens, or is one row.
        """
        order = self.by_length(rows)
        padded = self._padded(rows[order])
        start = 0
        while start < len(order):
            stop = min(start + most_rows, len(order))
            while stop > start + 1 and (stop - start) * padded[stop - 1] > most_tokens:
                stop -= 1
            yield order[start:stop]
            start = stop

    def _padded(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Tokens that a row takes, the chunks of a long text filled up; 0 where rows have no length."""
        lengths = getattr(self.store, "lengths", None)
        if lengths is None:
            return np.zeros(len(rows), dtype=np.int64)
        tokens, chunk = lengths(rows), self.store.spec.max_length
        return np.where(tokens > chunk, -(-tokens // max(chunk, 1)) * chunk, tokens)

    def read(self, rows: Int[np.ndarray, " n"], device: torch.device) -> dict[str, torch.Tensor]:
        """The encoder's inputs for some rows, in memory from which a device takes them without waiting."""
        return pinned(self.store.fetch(rows), device)

    def fetch(self, rows: Int[np.ndarray, " n"], device: torch.device) -> dict[str, torch.Tensor]:
        """The encoder's inputs for some rows, on the device."""
        return on_device(self.read(rows, device), device)


def pinned(values: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """What was read, in memory from which a device takes it without waiting; what lies on it stays there."""
    if device.type != "cuda":
        return values
    return {name: value if value.is_cuda else value.pin_memory() for name, value in values.items()}


def on_device(values: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """What was read, on the device; pinned memory is copied while the device computes."""
    return {name: value.to(device, non_blocking=True) for name, value in values.items()}


def open_inputs(data: Path, stores: Path, settings: Settings, fold: Fold | None = None) -> Inputs:
    """Open the data of a job.

    Args:
        fold: of train and dev, which is dev; None leaves them as the data have them.
    """
    given = settings.data.store.items()  # lists, as JSON has them, cannot be a key
    store = tuple(sorted((name, tuple(value) if isinstance(value, list) else value) for name, value in given))
    inputs = _open(str(data), str(stores), store)
    if fold is not None:
        inputs = _on_fold(inputs, PreparedData.load(data), fold)
    if not settings.data.shuffle_train_labels:
        return inputs
    return replace(inputs, train_labels=_shuffled(inputs.train_labels, settings))


def _on_fold(inputs: Inputs, data: PreparedData, fold: Fold) -> Inputs:
    """The same examples, dev being a fold of train and dev."""
    groups = np.concatenate([data.groups("train"), data.groups("dev")])
    rows = np.concatenate([inputs.train_rows, inputs.dev_rows])
    labels = one_after_another(inputs.train_labels, inputs.dev_labels)
    dev = dev_of_fold(groups, fold, max(FEW_DEV, len(inputs.dev_rows)))
    return replace(
        inputs,
        train_rows=rows[~dev],
        dev_rows=rows[dev],
        train_labels=labels[np.flatnonzero(~dev)],
        dev_labels=labels[np.flatnonzero(dev)],
    )


def train_labels(data: PreparedData, settings: Settings) -> LabelSets:
    """The labels that a study trains on: those of the data or, for the control, shuffled."""
    labels = data.labels("train")
    return _shuffled(labels, settings) if settings.data.shuffle_train_labels else labels


def _shuffled(labels: LabelSets, settings: Settings) -> LabelSets:
    """Label sets handed out to other examples, by the study seed."""
    order = np.random.default_rng(derive_seed(settings.seed, "shuffled labels")).permutation(len(labels))
    return labels[order]


@functools.lru_cache(maxsize=4)
def _open(data: str, stores: str, store_settings: tuple[tuple[str, Any], ...]) -> Inputs:
    prepared = PreparedData.load(data)
    return Inputs(
        store=open_store(prepared, dict(store_settings), Path(stores)),
        train_rows=prepared.rows("train"),
        dev_rows=prepared.rows("dev"),
        test_rows=prepared.rows("test"),
        train_labels=prepared.labels("train"),
        dev_labels=prepared.labels("dev"),
        are_open=prepared.manifest.terms == "open",
    )
