"""A rule's flags and weights: what does not hold is refused when a loss is made, never trained with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sdl_study.losses import WeightedContrastiveLoss, WeightRule, build_loss
from sdl_study.losses.named.all import AllRule
from sdl_study.losses.named.multisupcon import MultiSupConRule
from sdl_study.losses.named.sd import SimilarityDissimilarityRule
from sdl_study.testing import LossContract, make_inputs, multi_hot_labels


def rule(weight: Any = None, positive: Any = None, **flags: Any) -> WeightRule:
    """A rule of a class of its own; 1 for every pair unless a weight is given."""
    body: dict[str, Any] = {"weight": weight or (lambda self, c, s, t: torch.ones_like(c)), **flags}
    if positive is not None:
        body["positive"] = positive
    return type("Own", (WeightRule,), body)()


def half_shared(self: WeightRule, intersection: Tensor, anchor_size: Tensor, _: Tensor) -> Tensor:
    return 2 * intersection >= anchor_size


def value(of: WeightRule) -> float:
    rows = torch.nn.functional.normalize(make_inputs(14), dim=1)
    return float(WeightedContrastiveLoss(of, 0.2)(rows, multi_hot_labels([14])))


def test_a_positive_of_its_own_counts_without_a_flag() -> None:
    assert value(rule(positive=half_shared)) == value(rule(positive=half_shared, restricts_positives=True))
    assert value(rule(positive=half_shared)) != value(rule())
    derived = type("Derived", (type(rule(positive=half_shared)),), {})
    assert derived().restricts_positives
    assert not rule().restricts_positives
    assert AllRule.restricts_positives
    assert MultiSupConRule.restricts_positives


def test_a_constructor_may_say_that_its_positives_are_all() -> None:
    assert not SimilarityDissimilarityRule().restricts_positives
    only_equal = {"equal": 1, "overlap": 0, "subset": 0, "superset": 0}
    assert SimilarityDissimilarityRule(relation_weights=only_equal).restricts_positives


@pytest.mark.parametrize("where", ["class", "instance"])
def test_positives_are_not_left_out_by_a_wrong_flag(where: str) -> None:
    wrong = rule(positive=half_shared, **({"restricts_positives": False} if where == "class" else {}))
    wrong.restricts_positives = False
    message = "^rule Own: restricts_positives is False, but positive is False at intersection 1, anchor size 3, cand"
    with pytest.raises(ValueError, match=message):
        WeightedContrastiveLoss(wrong)


def foreign(self: WeightRule, c: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return 0.5 ** (t - c)


def undefined_apart(self: WeightRule, c: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return torch.where(c > 0, 1.0, math.nan).to(c.dtype)


@pytest.mark.parametrize("weight", [None, foreign, undefined_apart], ids=["one", "foreign", "NaN"])
def test_a_pair_without_a_shared_label_never_counts(weight: Any) -> None:
    message = "^rule Own: zero_when_disjoint is True, but weight is .* at intersection 0, anchor size 1"
    with pytest.raises(ValueError, match=message):
        WeightedContrastiveLoss(rule(weight, zero_when_disjoint=True))
    assert math.isfinite(
        value(rule(weight))
    )  # the core's mask drops what a rule without the flag returns there


@pytest.mark.parametrize(
    ("weight", "positive", "told"),
    [
        (foreign, None, "weight is no longer"),
        (lambda self, c, s, t: c / s, None, "weight is no longer"),
        (None, half_shared, "positive is no longer"),
    ],
    ids=["candidate", "anchor", "positive"],
)
def test_a_rule_that_is_not_symmetric_is_no_symmetric_one(weight: Any, positive: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^rule Own: symmetric is True, but exchanged, {told} .* at inter"):
        WeightedContrastiveLoss(rule(weight, positive, symmetric=True))
    WeightedContrastiveLoss(rule(weight, positive))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda self, c, s, t: 1 - 0.1 * (t - c), r"weight must be ≥ 0; it is -0\.\d* at .* candidate size"),
        (lambda self, c, s, t: -c, "weight must be ≥ 0; it is -1.0 at intersection 1"),
        (
            lambda self, c, s, t: 1 / (t - c),
            "weight must be finite; it is inf at intersection 1, anchor size",
        ),
        (lambda self, c, s, t: (s - c - 1).log(), "weight must be finite; it is -?(nan|inf)"),
        (lambda self, c, s, t: (c - 3).sqrt(), "weight must be finite; it is nan"),
    ],
)
def test_weights_that_count_are_finite_and_not_negative(weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^rule Own: {message}"):
        WeightedContrastiveLoss(rule(weight))


def test_only_weights_that_count_have_to_be_right() -> None:
    """Where a pair is no positive, and where it shares no label, a weight is never looked at."""
    beyond = rule(lambda self, c, s, t: 2 * c - s, half_shared)
    clamped = rule(lambda self, c, s, t: (2 * c - s).clamp_min(0), half_shared)
    assert value(beyond) == value(clamped)


@pytest.mark.parametrize(
    ("weight", "flags", "message"),
    [
        (lambda self, c, s, t: c.div_(s), {}, "weight or positive changes its arguments"),
        (lambda self, c, s, t: c, {"zero_when_disjoint": True}, "weight returns the intersection itself"),
        (lambda self, c, s, t: c.softmax(1), {}, "is not elementwise: with anchors along columns, weight is"),
        (lambda self, c, s, t: c / t.T, {}, "fails on label sets of 1 to 64 labels: .* must match"),
        (lambda self, c, s, t: None, {}, "fails on label sets of 1 to 64 labels"),
    ],
    ids=["in place", "itself", "by row", "shape", "nothing"],
)
def test_a_weight_is_a_new_elementwise_function(weight: Any, flags: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^rule Own:? {message}") as raised:
        WeightedContrastiveLoss(rule(weight, **flags))
    assert len(str(raised.value).splitlines()) == 1


def test_memory_that_is_no_result_is_never_read() -> None:
    class Leftover(WeightRule):
        def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
            return torch.ones_like(intersection)

        def weight_out(
            self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor, out: Tensor
        ) -> Tensor:
            return out.add_(1)

    with pytest.raises(ValueError, match="rule Leftover: weight must be finite; it is nan"):
        WeightedContrastiveLoss(Leftover())


def test_positives_are_truth_values() -> None:
    with pytest.raises(ValueError, match=r"rule Own: positive returns torch.float64; it must be torch.bool"):
        WeightedContrastiveLoss(rule(positive=lambda self, c, s, t: c / s))


@pytest.mark.parametrize("flag", ["symmetric", "zero_when_disjoint", "restricts_positives"])
@pytest.mark.parametrize("wrong", ["no", 0, None])
def test_flags_are_truth_values(flag: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"^rule Own: {flag} is {wrong!r}; it must be True or False"):
        WeightedContrastiveLoss(rule(**{flag: wrong}))


def test_a_normalizer_that_the_constructor_overwrites_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"^rule Own: normalizer is 'weights' in the class and 'positives' aft"
    ):
        WeightedContrastiveLoss(rule(normalizer="weights"))
    wrong = rule()
    wrong.normalizer = "sum"  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^rule Own: normalizer is 'sum'; choose one of positives, weights"):
        WeightedContrastiveLoss(wrong)


def test_a_rule_by_reference_is_tried_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from sdl_study.losses import WeightRule\n\n\nclass Falling(WeightRule):\n"
        "    def weight(self, intersection, anchor_size, candidate_size):\n"
        "        return intersection - candidate_size + 3\n"
    )
    with pytest.raises(ValueError, match="rule Falling: weight must be ≥ 0"):
        build_loss(f"{tmp_path / 'own.py'}:Falling")


@pytest.mark.parametrize("power", [0.1, 7.5, 1000.0])
@pytest.mark.parametrize("weights", [(0, 0.1, 0.7, 0.3), (1, 1e-12, 1e12, 0), (1, 0, 0, 0)])
def test_rounding_is_no_fault(power: float, weights: tuple[float, ...]) -> None:
    """Relation weights are sums that cancel: a 0 among them may come out a little below."""
    relations = dict(zip(("equal", "overlap", "subset", "superset"), weights, strict=True))
    for powers in ({"similarity_power": power}, {"dissimilarity_power": power}):
        build_loss("sd", relation_weights=relations, **powers)


def test_a_loss_is_made_where_tensors_are_no_numbers() -> None:
    with torch.device("meta"):
        build_loss("sd", learnable_temperature=True)


@pytest.mark.parametrize("flag", ["symmetric", "zero_when_disjoint"])
def test_the_contract_compares_with_all_flags_off(flag: str) -> None:
    class Contract(LossContract):
        def make_loss(self) -> WeightedContrastiveLoss:
            loss = WeightedContrastiveLoss(rule(foreign), 0.3)
            setattr(loss.rule, flag, True)  # after the rule was tried
            return loss

    with pytest.raises(AssertionError, match=r"(value|gradient) with the rule's flags: wrong by"):
        Contract().test_a_rules_flags_change_nothing()
