"""A positive term that needs no pairs: each label (or each distinct label set) pulls its rows together.

ω = diag(c) Y diag(1/(n_l − 1)) Yᵀ off the diagonal, so Σ_j ω_ij z_j are sums over labels: O(nnz·D) work.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from sdl_study.label_sets import LabelSets
from sdl_study.losses.counting import IntersectionCounter
from sdl_study.losses.exchange import Batch
from sdl_study.losses.positives import Normalized, Range
from sdl_study.losses.tiles import Tile, TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int64

CHUNK_BYTES = 4 << 20
"""Rows that are gathered at a time, so that memory does not grow with the number of label entries."""


class LabelPositives:
    """MulSupCon's positive term. A label that only one row carries has no positive and is left out.

    Args:
        labels: what pulls together: the label sets of the global batch, or one label per distinct set.
        batch: the global batch.
        plan: the rank's tiles (for diagnostics).
        inverse_temperature: 1/τ.
        mean: over all (anchor, label) "rows", or over each anchor's labels and then the "anchors".
    """

    num_sums = 0

    def __init__(
        self,
        labels: LabelSets,
        batch: Batch,
        plan: TilePlan,
        inverse_temperature: float,
        mean: Literal["rows", "anchors"],
    ) -> None:
        device = batch.rows.device
        frequencies = labels.counts()
        kept = frequencies[labels.indices] >= 2
        rows, names = labels.row_of_entry()[kept], labels.indices[kept]
        _, compact = np.unique(names, return_inverse=True)
        self._rows = torch.from_numpy(rows).to(device)
        self._labels = torch.from_numpy(compact).to(device)
        self._num_labels = int(compact.max()) + 1 if compact.size else 0
        self._share = torch.from_numpy(1 / (frequencies[names] - 1.0)).to(device)
        self._batch = batch
        self._inverse_temperature = inverse_temperature
        self._mean = mean
        self._values = np.where(frequencies >= 2, 1 / np.maximum(frequencies - 1.0, 1.0), 0.0)
        self._sets = labels
        self._plan = plan
        self._counter: IntersectionCounter | None = None
        self._pull: tuple[Tensor, Tensor] | None = None

    def normalize(self, sums: Float64[Tensor, "M 0"]) -> Normalized:
        """Scales and the positive term itself, from labels and embeddings alone; identical on every rank."""
        rows, center = self._batch.rows, self._batch.center
        held = sums.new_zeros(rows.shape[0]).index_add_(0, self._rows, torch.ones_like(self._share))
        valid = held > 0
        if self._mean == "anchors":
            scale = torch.where(valid, 1 / (held.clamp_min(1) * valid.sum().clamp_min(1)), 0)
        else:
            scale = valid / held.sum().clamp_min(1)
        attracted, columns = self._attract(scale)
        total = scale * held
        self._pull = attracted, total + columns
        # Σ ω_ij s_ij with s_ij = (c_i·c_j + μ·c_j)/τ
        logits = (attracted * rows).sum() / 2 + columns @ torch.mv(rows, center).double()
        fraction = valid.sum().double() / max(1, rows.shape[0])
        return Normalized(scale, total, logits * self._inverse_temperature, fraction)

    def pull(self, start: int, stop: int) -> tuple[Float64[Tensor, "b D"], Float64[Tensor, " b"]]:
        """Σ_j (ω_kj + ω_jk) c_j and Σ_j (ω_kj + ω_jk) of the rows start:stop; after ``normalize``."""
        if self._pull is None:
            raise RuntimeError("pull() follows normalize()")
        return self._pull[0][start:stop], self._pull[1][start:stop]

    def tile_weights(
        self, tile: Tile, counts: Tensor, anchors: Range, candidates: Range, dim: int
    ) -> Float[Tensor, "n m"]:
        """Σ_{l∈S∩T} 1/(n_l − 1) of the pairs of a tile (for diagnostics; the loss itself needs no pair)."""
        if self._counter is None:
            blocks, dtype = self._plan.column_blocks, counts.dtype
            self._counter = IntersectionCounter(self._sets, blocks, dtype, counts.device, self._values)
        return self._counter.count(tile)

    def _attract(self, scale: Float64[Tensor, " M"]) -> tuple[Float64[Tensor, "M D"], Float64[Tensor, " M"]]:
        """(ω + ωᵀ) C and the column sums of ω, without ω."""
        rows = self._batch.rows
        own = torch.zeros_like(scale).index_add_(0, self._rows, self._share)
        by_label = scale.new_zeros(self._num_labels).index_add_(0, self._labels, scale[self._rows])
        columns = torch.zeros_like(scale)
        columns.index_add_(0, self._rows, by_label[self._labels] * self._share).sub_(scale * own)
        attracted = self._spread(None).mul_(scale[:, None])
        # where all scales are one number, ω is symmetric
        attracted += attracted if self._mean == "rows" else self._spread(scale)
        attracted -= (2 * scale * own)[:, None] * rows
        return attracted, columns

    def _spread(self, scale: Float64[Tensor, " M"] | None) -> Float64[Tensor, "M D"]:
        """Y diag(1/(n_l − 1)) Yᵀ diag(scale) C in float64, the diagonal included."""
        source = self._batch.rows
        size = source.shape[1]
        by_label = source.new_zeros((self._num_labels, size), dtype=torch.float64)
        for entries in self._chunks(size):
            rows = source[self._rows[entries]].double()
            if scale is not None:
                rows *= scale[self._rows[entries], None]
            by_label.index_add_(0, self._labels[entries], rows)
        spread = source.new_zeros(source.shape, dtype=torch.float64)
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
