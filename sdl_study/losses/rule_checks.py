"""What a weight rule promises, tried once on a table of label sets when a loss is made of it.

The flags of a rule spare the core work; a wrong one would change the loss without a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdl_study.losses.checks import choice, truth
from sdl_study.losses.rules import NORMALIZERS, WeightRule

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

FLAGS = ("symmetric", "zero_when_disjoint", "restricts_positives")

SIZES = (1, 2, 3, 4, 6, 12, 24, 64)
"""Label-set sizes of the table: small ones, where the cases differ, and large ones, which a penalty has to bear."""

TOLERANCE = 1e-6
"""Of the largest weight: sums that cancel may round to a little below 0, and orders of operation differ."""


@dataclass(frozen=True)
class Table:
    """Pairs of label sets as a rule sees them, in float64; the sizes are broadcast over the intersections."""

    intersection: Float64[Tensor, "n m"]
    anchor_size: Float64[Tensor, "#n #m"]
    candidate_size: Float64[Tensor, "#n #m"]

    @classmethod
    def of_sizes(cls) -> Table:
        """All pairs of ``SIZES`` that share no label, one, half or all of the smaller set: [8, 32]."""
        anchors = torch.tensor(SIZES, dtype=torch.float64, device="cpu")[:, None]
        smaller = torch.minimum(anchors, anchors.T)
        shared = [torch.zeros_like(smaller), torch.ones_like(smaller), (smaller / 2).ceil(), smaller]
        return cls(torch.cat(shared, dim=1), anchors, anchors.T.repeat(1, len(shared)))

    @property
    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Intersections, anchor sizes and candidate sizes."""
        return self.intersection, self.anchor_size, self.candidate_size

    def first(self, where: Bool[Tensor, "n m"], values: Tensor) -> str:
        """The value at the first pair for which ``where`` is true, and that pair."""
        row, column = where.nonzero()[0].tolist()
        numbers = torch.broadcast_tensors(*self.numbers)
        shared, anchor, candidate = (int(number[row, column]) for number in numbers)
        value = values[row, column].item()
        return f"{value} at intersection {shared}, anchor size {anchor}, candidate size {candidate}"


@cache
def _tables() -> tuple[Table, Table, Table]:
    """The table, with anchors and candidates exchanged, and with the anchors along the columns."""
    table = Table.of_sizes()
    return (
        table,
        Table(table.intersection, table.candidate_size, table.anchor_size),
        Table(*(number.T.contiguous() for number in table.numbers)),
    )


def check_rule(rule: WeightRule) -> None:
    """Refuse a rule that breaks a promise of ``WeightRule`` on the table.

    Raises:
        ValueError: a flag that is no truth value or does not hold, a weight that counts and is negative or not finite,
            or functions that fail, change their arguments or are not elementwise; the message names rule and flag.
    """
    name = f"rule {type(rule).__name__}"
    for flag in FLAGS:
        truth(f"{name}: {flag}", getattr(rule, flag))
    _check_normalizer(rule, name)
    table, exchanged, mirrored = _tables()
    with torch.no_grad():
        weights, positive = _evaluate(rule, table, name)
        _check_masks(rule, table, weights, positive, name)
        counting = _counting(table, weights, positive)
        _check_values(table, counting[0], name)
        turned = [seen.T for seen in _evaluate(rule, mirrored, name)]
        _require_same(table, counting, turned, f"{name} is not elementwise: with anchors along columns")
        if rule.symmetric:
            other = _evaluate(rule, exchanged, name)
            _require_same(table, counting, other, f"{name}: symmetric is True, but exchanged")


def _check_normalizer(rule: WeightRule, name: str) -> None:
    choice(f"{name}: normalizer", rule.normalizer, NORMALIZERS)
    of_class = type(rule).normalizer
    if of_class not in (WeightRule.normalizer, rule.normalizer):
        raise ValueError(
            f"{name}: normalizer is {of_class!r} in the class and {rule.normalizer!r} after its constructor; "
            "give it to WeightRule.__init__"
        )


def _evaluate(rule: WeightRule, table: Table, name: str) -> tuple[Tensor, Tensor]:
    """Weights (float64) and positives of the table, as the core asks for them."""
    intersection, anchor_size, candidate_size = given = [number.clone() for number in table.numbers]
    shape, out = table.intersection.shape, torch.full_like(table.intersection, math.nan)
    try:
        made = rule.weight_out(intersection, anchor_size, candidate_size, out)
        weights = torch.where(table.intersection >= 0, made, 0).to(torch.float64).expand(shape)
        positive = rule.positive(intersection, anchor_size, candidate_size).expand(shape)
    except Exception as error:  # of the user's own function; which one it is stands in the traceback
        told = " ".join(str(error).split())
        raise ValueError(f"{name} fails on label sets of {SIZES[0]} to {SIZES[-1]} labels: {told}") from error
    if not all(torch.equal(*pair) for pair in zip(given, table.numbers, strict=True)):
        raise ValueError(f"{name}: weight or positive changes its arguments; return a tensor of its own")
    # otherwise a mask copies it
    if rule.zero_when_disjoint and isinstance(made, Tensor) and made.data_ptr() == intersection.data_ptr():
        raise ValueError(f"{name}: weight returns the intersection itself; return a tensor of its own")
    return weights, positive


def _check_masks(rule: WeightRule, table: Table, weights: Tensor, positive: Tensor, name: str) -> None:
    """The flags that say which masks the core may leave out."""
    shared = table.intersection > 0
    if positive.dtype != torch.bool:
        raise ValueError(f"{name}: positive returns {positive.dtype}; it must be torch.bool")
    missing = shared & ~positive
    if not rule.restricts_positives and bool(missing.any()):
        raise ValueError(
            f"{name}: restricts_positives is False, but positive is {table.first(missing, positive)}"
        )
    loose = ~shared & (weights != 0)
    if rule.zero_when_disjoint and bool(loose.any()):
        raise ValueError(f"{name}: zero_when_disjoint is True, but weight is {table.first(loose, weights)}")


def _counting(table: Table, weights: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Weights, 0 where a pair does not count, and which pairs count."""
    counts = positive & (table.intersection > 0)
    return torch.where(counts, weights, 0), counts


def _check_values(table: Table, weights: Tensor, name: str) -> None:
    infinite = ~torch.isfinite(weights)
    if bool(infinite.any()):
        raise ValueError(f"{name}: weight must be finite; it is {table.first(infinite, weights)}")
    negative = weights < -TOLERANCE * weights.abs().max()
    if bool(negative.any()):
        raise ValueError(f"{name}: weight must be ≥ 0; it is {table.first(negative, weights)}")


def _require_same(table: Table, counting: tuple[Tensor, Tensor], other: Sequence[Tensor], told: str) -> None:
    """Refuse other weights or positives than the table's own."""
    weights, counts = counting
    other_weights, other_counts = _counting(table, other[0], other[1])
    differs = counts != other_counts
    if bool(differs.any()):
        raise ValueError(f"{told}, positive is no longer {table.first(differs, counts)}")
    limit = TOLERANCE * weights.abs().max()
    differs = ~((weights - other_weights).abs() <= limit)
    if bool(differs.any()):
        raise ValueError(f"{told}, weight is no longer {table.first(differs, weights)}")
