"""``mulsupcon``: one supervised contrastive term per label of the anchor (MulSupCon, AAAI 2024)."""

from __future__ import annotations

from typing import Any

from sdl_study.losses.base import ContrastiveLoss
from sdl_study.losses.checks import truth
from sdl_study.losses.core import Positives
from sdl_study.losses.exchange import Batch
from sdl_study.losses.label_positives import LabelPositives
from sdl_study.losses.tiles import TilePlan


class MulSupConLoss(ContrastiveLoss):
    """One supervised contrastive term per label of the anchor: ω = Σ_{l∈S∩T} 1/n_il / R.

    n_il counts the candidates with label l, R the (anchor, label) rows with n_il ≥ 1.

    Args:
        per_anchor_mean: divide by m_i·V instead of R: each anchor's labels are averaged first (m_i labels of
            anchor i have n_il ≥ 1), then the anchors.
        temperature, **settings: as in ``ContrastiveLoss``.
    """

    def __init__(self, temperature: float = 0.07, per_anchor_mean: bool = False, **settings: Any) -> None:
        super().__init__(temperature, **settings)
        self.per_anchor_mean = truth("per_anchor_mean", per_anchor_mean)

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        mean = "anchors" if self.per_anchor_mean else "rows"
        return LabelPositives(batch.labels, batch, plan, 1 / self.temperature, mean)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, per_anchor_mean={self.per_anchor_mean}"


LOSS = MulSupConLoss
