"""What the frozen part of an encoder makes of every example, computed once and memory-mapped.

Of texts that is a hidden state per token, laid out as the tokens are; of images a feature map or a hidden state per
patch; of a wholly frozen encoder one vector per example. A batch of it takes the place of the inputs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdl_study.data.cache import build_once
from sdl_study.data.disk import write_array
from sdl_study.data.layout import Layout
from sdl_study.data.tokens import TokenStore
from sdl_study.files import write_json

if TYPE_CHECKING:
    from jaxtyping import Int64

    from sdl_study.data.stores import Store

Lower = Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]
"""The frozen part: inputs of some examples → ``hidden`` or ``embedding`` of the same examples."""

_VERSION = 1
_ROWS = 2_048  # computed before they are written; sorted by length among themselves
_BATCH = 64


class HiddenStore:
    """Outputs of a frozen part for every example of another store, in its file or in the memory of a device."""

    def __init__(self, path: Path, source: Store) -> None:
        self.path, self.spec, self._source = path, source.spec, source
        record = json.loads((path / "store.json").read_text())
        self._name, self._half = record["name"], record["half"]
        self._values = np.load(path / "values.npy", mmap_mode="r")
        self._held: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all outputs."""
        return self._values.nbytes

    def hold_on(self, device: torch.device) -> None:
        """Copy all outputs to a device; what is fetched is then put together there, and is the same to the bit.

        The states of a batch of texts are tens of MB: read from the file and copied, they take longer than a GPU
        takes for the layers above them.
        """
        self._held = torch.from_numpy(np.load(self.path / "values.npy", mmap_mode="c")).to(device, copy=True)

    def __len__(self) -> int:
        return len(self._source)

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """``embedding`` [n, width], or ``hidden``: [n, T, width] (or [n, C, T, width]) with its ``attention_mask``
        for texts, zero at padding; [n, patches, width] or [n, width, h, w] for images. In float32."""
        rows = np.asarray(rows, dtype=np.int64)
        tokens = _per_token(self._source, self._name)
        if tokens is None:
            return {self._name: self._single(self._taken(rows))}
        layout = tokens.layout(rows)
        mask = torch.from_numpy(layout.mask())
        if self._held is not None:
            mask = mask.to(self._held.device)
        return {"hidden": self._single(self._spread(layout)), "attention_mask": mask}

    def _taken(self, rows: Int64[np.ndarray, " n"]) -> torch.Tensor:
        """Stored outputs as they are kept."""
        if self._held is None:
            return torch.from_numpy(self._values[rows])
        return self._held[torch.from_numpy(rows).to(self._held.device)]

    def _spread(self, layout: Layout) -> torch.Tensor:
        """Stored outputs of tokens in a padded batch."""
        shape = (*layout.shape, self._values.shape[1])
        if self._held is None:
            hidden = np.zeros(shape, dtype=self._values.dtype)
            hidden[layout.where] = self._values[layout.token]
            return torch.from_numpy(hidden)
        spread = self._held.new_zeros(shape)
        places = torch.from_numpy(np.ravel_multi_index(layout.where, layout.shape)).to(spread.device)
        spread.view(-1, shape[-1])[places] = self._taken(layout.token)
        return spread

    def save_processor(self, folder: Path) -> None:
        """Write what the inputs of the whole encoder are made with into its folder."""
        self._source.save_processor(folder)

    def _single(self, values: torch.Tensor) -> torch.Tensor:
        return values.view(torch.bfloat16).float() if self._half else values

    def lengths(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Tokens of the examples ``rows``; 1 where there is one output an example."""
        tokens = _per_token(self._source, self._name)
        return np.ones(len(rows), dtype=np.int64) if tokens is None else tokens.lengths(rows)


def open_hidden_store(
    source: Store, frozen: str, lower: Lower, cache_dir: Path, half: bool = False, most: float = math.inf
) -> HiddenStore | None:
    """The outputs of a frozen part for every example of ``source``, computed if they are not there.

    None where they are not, and would take more bytes than ``most``.

    Args:
        source: the store of its inputs.
        frozen: digest of the frozen part.
        lower: the frozen part, called without gradient on batches of inputs.
        cache_dir: folder of stores.
        half: keep them as bfloat16, for encoders that are trained in it.
        most: bytes that they may take.

    Raises:
        UserError: a folder that cannot be written, a full disk.
    """
    record = json.dumps([_VERSION, source.path.name, frozen, half])
    key = f"hidden-{hashlib.sha256(record.encode()).hexdigest()[:24]}"
    if not (Path(cache_dir) / key).exists() and _bytes(source, lower, half) > most:
        return None
    path = build_once(Path(cache_dir), key, lambda folder: _build(folder, source, lower, half))
    return HiddenStore(path, source)


def _bytes(source: Store, lower: Lower, half: bool) -> int:
    """Size of a store of outputs, told from those of one example."""
    return int(np.prod(_shape(source, lower), dtype=np.int64)) * (2 if half else 4)


def _shape(source: Store, lower: Lower) -> tuple[int, ...]:
    name, (first,) = _outputs(source, lower, np.zeros(1, dtype=np.int64))
    tokens = _per_token(source, name)
    return (len(source) if tokens is None else tokens.num_tokens, *first.shape[1:])


def _per_token(source: Store, name: str) -> TokenStore | None:
    """The store of the texts, where every token has an output."""
    return source if isinstance(source, TokenStore) and name == "hidden" else None


def _build(folder: Path, source: Store, lower: Lower, half: bool) -> None:
    name, _ = _outputs(source, lower, np.zeros(1, dtype=np.int64))
    dtype = np.int16 if half else np.float32  # numpy has no bfloat16: its bits are kept
    write_array(folder / "values.npy", _shape(source, lower), dtype, _all(source, lower, half))
    write_json(folder / "store.json", {"name": name, "half": half, "source": source.path.name})


def _all(source: Store, lower: Lower, half: bool) -> Iterator[np.ndarray]:
    """Outputs of all examples in order; those of like length are computed together."""
    for start in range(0, len(source), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(source)))
        lengths = getattr(source, "lengths", None)
        order = np.arange(len(rows)) if lengths is None else np.argsort(lengths(rows), kind="stable")
        parts = [torch.empty(0)] * len(rows)
        for batch in range(0, len(rows), _BATCH):
            places = order[batch : batch + _BATCH]
            for place, values in zip(places, _outputs(source, lower, rows[places])[1], strict=True):
                parts[place] = values
        values = torch.cat(parts)
        yield (values.to(torch.bfloat16).view(torch.int16) if half else values).numpy()


def _outputs(source: Store, lower: Lower, rows: Int64[np.ndarray, " n"]) -> tuple[str, list[torch.Tensor]]:
    """Name of the outputs, and those of every example: [tokens, width] without padding, or [1, ...]."""
    inputs = source.fetch(rows)
    ((name, values),) = lower(inputs).items()
    values = values.float().cpu()
    tokens = _per_token(source, name)
    if tokens is None:
        return name, list(values.split(1))
    kept = values[inputs["attention_mask"].bool()]
    return name, list(kept.split(tokens.lengths(rows).tolist()))
