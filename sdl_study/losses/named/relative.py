"""``relative``: the foreign share of a candidate's labels lowers its weight; for ablations of sd's penalty."""

from __future__ import annotations

from torch import Tensor

from sdl_study.losses.rules import WeightRule


class RelativeRule(WeightRule):
    """|S∩T|/|S| · (1 − x/|T|): the foreign share of the candidate's labels, not their number x = |T| − |S∩T|."""

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return (intersection / anchor_size) * (intersection / candidate_size)


LOSS = RelativeRule
