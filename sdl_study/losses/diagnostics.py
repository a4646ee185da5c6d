"""What a batch means to a loss: how many pairs stand in which relation, what they weigh, how large it all is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.losses.core import Positives
from sdl_study.losses.positives import RulePositives
from sdl_study.losses.relations import RELATIONS, relation_masks
from sdl_study.losses.tiles import TilePlan

if TYPE_CHECKING:
    from jaxtyping import Float64

    from sdl_study.losses.core import Result


@dataclass(frozen=True)
class Diagnostics:
    """A batch seen by a loss; the same on every rank.

    Attributes:
        valid_anchor_fraction: rows with at least one positive, among all rows.
        pairs: ordered (anchor, candidate) pairs per relation; together N(N−1).
        mean_weight: mean weight of these pairs per relation, before any normaliser; 0 where there is no pair.
        loss: the loss.
        loss_scale: loss divided by that of ANY on the same batch.
        weight_scale: Σ_ij ω_ij divided by ANY's; a loss falls with it as label sets grow.
        gradient_scale: ‖dL/dz‖ divided by ANY's.
    """

    valid_anchor_fraction: float
    pairs: dict[str, int]
    mean_weight: dict[str, float]
    loss: float
    loss_scale: float
    weight_scale: float
    gradient_scale: float

    def flat(self) -> dict[str, float]:
        """All numbers under flat names such as "pairs/equal", for a logger."""
        flat: dict[str, float] = {f"pairs/{name}": float(n) for name, n in self.pairs.items()}
        flat |= {f"mean_weight/{name}": weight for name, weight in self.mean_weight.items()}
        single = ("valid_anchor_fraction", "loss", "loss_scale", "weight_scale", "gradient_scale")
        return flat | {name: float(getattr(self, name)) for name in single}


def relation_sums(plan: TilePlan, reference: RulePositives, positives: Positives) -> Float64[Tensor, "2 5"]:
    """Pairs and Σ weight per relation over one rank's anchors; an anchor with itself is left out."""
    sums = torch.zeros((2, len(RELATIONS)), dtype=torch.float64)
    for tile in plan.tiles:
        counts = reference.counter.count(tile)
        for anchors, candidates, dim in reference.sides(tile):
            sizes = reference.sizes(anchors, candidates, dim)
            weights = positives.tile_weights(tile, counts, anchors, candidates, dim)
            for number, mask in enumerate(relation_masks(counts, *sizes).values()):
                sums[0, number] += int(mask.sum())
                sums[1, number] += float((weights * mask).sum(dtype=torch.float64))
    sums[0, 0] -= plan.stop - plan.start if plan.tiles else 0
    return sums


def summarize(
    result: Result,
    any_result: Result,
    sums: Float64[Tensor, "2 5"],
    group: distributed.ProcessGroup | None,
    sharded: bool,
) -> Diagnostics:
    """Join one rank's numbers with the others'."""
    squares = torch.zeros(2, dtype=torch.float64)
    for number, gradient in enumerate((result.gradient, any_result.gradient)):
        if gradient is not None:
            squares[number] = float(gradient.square().sum(dtype=torch.float64))
    if sharded:
        sums = distributed.all_reduce_sum(sums, group)
        squares = distributed.all_reduce_sum(squares, group)
    pairs, totals = sums[0].tolist(), sums[1].tolist()
    return Diagnostics(
        valid_anchor_fraction=float(result.valid_fraction),
        pairs={name: int(n) for name, n in zip(RELATIONS, pairs, strict=True)},
        mean_weight={
            name: total / n if n else 0.0 for name, n, total in zip(RELATIONS, pairs, totals, strict=True)
        },
        loss=float(result.loss),
        loss_scale=_ratio(float(result.loss), float(any_result.loss)),
        weight_scale=_ratio(float(result.total_weight), float(any_result.total_weight)),
        gradient_scale=_ratio(float(squares[0]) ** 0.5, float(squares[1]) ** 0.5),
    )


def _ratio(value: float, reference: float) -> float:
    """NaN where ANY has no valid anchor either."""
    return value / reference if reference != 0 else float("nan")
