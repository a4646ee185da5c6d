"""``any``: positives are the candidates that share a label with the anchor."""

from __future__ import annotations

from typing import Any

from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.rules import AnyRule


class AnyLoss(WeightedContrastiveLoss):
    """Positives are the candidates with at least one label of the anchor: ω = [S∩T≠∅] / (|P(i)|·V)."""

    def __init__(self, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(AnyRule(), temperature, **settings)


LOSS = AnyLoss
