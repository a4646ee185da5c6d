"""A positive term that needs no pairs: each label (or each distinct label set) pulls its rows together.

ω = diag(c) Y diag(1/(n_l − 1)) Yᵀ off the diagonal, so Σ_j ω_ij z_j are sums over labels: O(nnz·D) work.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from sdl_study.losses.counting import IntersectionCounter
from sdl_study.losses.label_sets import LabelSets
from sdl_study.losses.positives import Normalized, Range
from sdl_study.losses.tiles import Tile

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int64

CHUNK_BYTES = 4 << 20
"""Rows that are gathered at a time, so that memory does not grow with the number of label entries."""


class LabelPositives:
    """MulSupCon's positive term. A label that only one row carries has no positive and is left out.

    Args:
        labels: the label sets of the global batch.
        embeddings: its rows.
        inverse_temperature: 1/τ.
        mean: over all (anchor, label) "rows", or over each anchor's labels and then the "anchors".
    """

    num_sums = 0

    def __init__(
        self,
        labels: LabelSets,
        embeddings: Float[Tensor, "M D"],
        inverse_temperature: float,
        mean: Literal["rows", "anchors"],
    ) -> None:
        device = embeddings.device
        frequencies = labels.counts()
        kept = frequencies[labels.indices] >= 2
        rows, names = labels.row_of_entry()[kept], labels.indices[kept]
        _, compact = np.unique(names, return_inverse=True)
        self._rows = torch.from_numpy(rows).to(device)
        self._labels = torch.from_numpy(compact).to(device)
        self._num_labels = int(compact.max()) + 1 if compact.size else 0
        self._share = torch.from_numpy(1 / (frequencies[names] - 1.0)).to(device)
        self._embeddings = embeddings
        self._inverse_temperature = inverse_temperature
        self._mean = mean
        self._values = np.where(frequencies >= 2, 1 / np.maximum(frequencies - 1.0, 1.0), 0.0)
        self._sets = labels
        self._pull: Float64[Tensor, "M D"] = embeddings.new_zeros((0, 0), dtype=torch.float64)

    def normalize(self, sums: Float64[Tensor, "M 0"]) -> Normalized:
        """Scales and the positive term itself, from labels and embeddings alone; identical on every rank."""
        num_rows = self._embeddings.shape[0]
        held = sums.new_zeros(num_rows).index_add_(0, self._rows, torch.ones_like(self._share))
        valid = held > 0
        if self._mean == "anchors":
            scale = torch.where(valid, 1 / (held.clamp_min(1) * valid.sum().clamp_min(1)), 0)
        else:
            scale = valid / held.sum().clamp_min(1)
        self._pull = self._attract(scale)
        logits = (self._pull * self._embeddings).sum() * (self._inverse_temperature / 2)
        return Normalized(scale, scale * held, logits, valid.sum().double() / max(1, num_rows))

    def pull(self, start: int, stop: int) -> Float64[Tensor, "b D"]:
        """Σ_j (ω_kj + ω_jk) z_j of the rows start:stop; after `normalize`."""
        return self._pull[start:stop]

    def tile_weights(
        self, tile: Tile, counts: Tensor, anchors: Range, candidates: Range, dim: int
    ) -> Float[Tensor, "n m"]:
        """Σ_{l∈S∩T} 1/(n_l − 1) of the pairs of a tile (for diagnostics; the loss itself needs no pair)."""
        blocks = sorted({tile.rows, tile.columns})
        rows = [row for block in blocks for row in range(*block)]
        place = {block: (rows.index(block[0]), rows.index(block[1] - 1) + 1) for block in blocks}
        dtype, device = counts.dtype, counts.device
        counter = IntersectionCounter(self._sets[rows], list(place.values()), dtype, device, self._values)
        return counter.count(Tile(place[tile.rows], place[tile.columns], mirrored=False))

    def _attract(self, scale: Float64[Tensor, " M"]) -> Float64[Tensor, "M D"]:
        """(ω + ωᵀ) Z. With one mean over rows the scale is one number and ω is symmetric."""
        own = torch.zeros_like(scale).index_add_(0, self._rows, self._share)
        if self._mean == "rows":
            total = self._spread(None).mul_(2)
            total -= (2 * own)[:, None] * self._embeddings
            return total.mul_(scale[:, None])
        total = self._spread(None).mul_(scale[:, None])
        total += self._spread(scale)
        total -= (2 * scale * own)[:, None] * self._embeddings
        return total

    def _spread(self, scale: Float64[Tensor, " M"] | None) -> Float64[Tensor, "M D"]:
        """Y diag(1/(n_l − 1)) Yᵀ diag(scale) Z in float64, the diagonal included."""
        size = self._embeddings.shape[1]
        by_label = self._embeddings.new_zeros((self._num_labels, size), dtype=torch.float64)
        for entries in self._chunks(size):
            rows = self._embeddings[self._rows[entries]].double()
            if scale is not None:
                rows *= scale[self._rows[entries], None]
            by_label.index_add_(0, self._labels[entries], rows)
        spread = self._embeddings.new_zeros(self._embeddings.shape, dtype=torch.float64)
        for entries in self._chunks(size):
            rows = by_label[self._labels[entries]] * self._share[entries, None]
            spread.index_add_(0, self._rows[entries], rows)
        return spread

    def _chunks(self, size: int) -> list[slice]:
        step = max(1, CHUNK_BYTES // (8 * max(1, size)))
        return [slice(at, at + step) for at in range(0, self._rows.shape[0], step)]


def distinct_sets(labels: LabelSets) -> LabelSets:
    """Give each distinct non-empty label set one label of its own: equal sets share it, empty sets have none."""
    names: dict[bytes, int] = {}
    bounds = labels.indptr.tolist()
    numbers: list[int] = []
    for begin, end in pairwise(bounds):
        if begin < end:
            numbers.append(names.setdefault(labels.indices[begin:end].tobytes(), len(names)))
    indptr = np.concatenate([[0], np.cumsum(labels.sizes > 0, dtype=np.int64)])
    indices: Int64[np.ndarray, " n"] = np.array(numbers, dtype=np.int64)
    return LabelSets(indptr, indices, max(1, len(names)))
