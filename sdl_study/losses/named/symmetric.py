"""``symmetric``: labels that either set lacks of the other count alike; for ablations of sd's penalty."""

from __future__ import annotations

from torch import Tensor

from sdl_study.losses.rules import WeightRule


class SymmetricRule(WeightRule):
    """1/(1 + |S△T|): labels that either set has and the other lacks count alike."""

    symmetric = True

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return 1 / (1 + anchor_size + candidate_size - 2 * intersection)


LOSS = SymmetricRule
