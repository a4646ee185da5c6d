"""The five relations between an anchor's label set S and a candidate's label set T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor

from sdl_study.losses.checks import number_from_zero

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

RELATIONS = ("disjoint", "equal", "overlap", "subset", "superset")
"""R1…R5: S∩T=∅ · S=T≠∅ · S∩T≠∅ and neither contains the other · ∅≠T⊊S · ∅≠S⊊T."""


@dataclass(frozen=True)
class RelationWeights:
    """A factor for each relation in which a candidate is a positive; ones are the paper's loss.

    With the normalizer "positives", scaling all four scales the loss, so a study keeps one of them fixed.

    Raises:
        ValueError: a weight that is negative or not finite, or all four zero.
    """

    equal: float = 1.0
    overlap: float = 1.0
    subset: float = 1.0
    superset: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            weight = number_from_zero(f"relation_weights.{field.name}", getattr(self, field.name))
            object.__setattr__(
                self, field.name, weight
            )  # a float, also where an integer or NumPy's was given
        if self.equal == self.overlap == self.subset == self.superset == 0:
            raise ValueError("relation_weights are all 0; at least one relation must count")

    @classmethod
    def of(cls, weights: RelationWeights | Mapping[str, float] | None) -> RelationWeights:
        """Weights as a loss takes them: these, a mapping with some of the relations (the others weigh 1), or none.

        Raises:
            ValueError: anything else, or a relation that has no weight; the message names the choices.
        """
        if isinstance(weights, RelationWeights):
            return weights
        if weights is None:
            return cls()
        names = [field.name for field in fields(cls)]
        if not isinstance(weights, Mapping):
            raise ValueError(f"relation_weights is {weights!r}; give numbers by relation: {', '.join(names)}")
        for name in weights:
            if name not in names:
                raise ValueError(f"relation_weights has no relation {name!r}; it has {', '.join(names)}")
        return cls(**weights)

    @property
    def uniform(self) -> bool:
        """Whether all relations weigh the same."""
        return self.equal == self.overlap == self.subset == self.superset

    @property
    def only_equal(self) -> bool:
        """Whether only equal label sets count, as in the loss ``all``."""
        return self.equal > 0 and self.overlap == self.subset == self.superset == 0


def relation_masks(
    intersection: Float[Tensor, "n m"],
    anchor_size: Float[Tensor, "#n #m"],
    candidate_size: Float[Tensor, "#n #m"],
) -> dict[str, Bool[Tensor, "n m"]]:
    """Which pairs of a tile stand in which relation; exactly one mask is true for each pair."""
    shared = intersection > 0
    covers_anchor = (intersection == anchor_size) & shared
    covers_candidate = (intersection == candidate_size) & shared
    return {
        "disjoint": ~shared,
        "equal": covers_anchor & covers_candidate,
        "overlap": shared & ~covers_anchor & ~covers_candidate,
        "subset": covers_candidate & ~covers_anchor,
        "superset": covers_anchor & ~covers_candidate,
    }


def relation_factor(
    intersection: Float[Tensor, "n m"],
    anchor_size: Float[Tensor, "#n #m"],
    candidate_size: Float[Tensor, "#n #m"],
    weights: RelationWeights,
) -> Float[Tensor, "n m"]:
    """The relation weight of every pair of a tile that shares a label (elsewhere the value has no meaning)."""
    dtype = intersection.dtype
    superset = (intersection == anchor_size).to(dtype)
    subset = (intersection == candidate_size).to(dtype)
    factor = superset * subset
    factor *= weights.equal - weights.superset - weights.subset + weights.overlap
    factor += superset.mul_(weights.superset - weights.overlap)
    factor += subset.mul_(weights.subset - weights.overlap)
    return factor.add_(weights.overlap)
