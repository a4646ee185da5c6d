"""The values of a loss's settings: which are taken, and how others are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sdl_study.losses import (
    AsymmetricLoss,
    RelationWeights,
    SimilarityDissimilarityLoss,
    build_loss,
    find_loss,
    named_losses,
)
from sdl_study.testing import make_inputs, multi_hot_labels

NOT_NUMBERS = (True, False, "0.5", None, [0.5], math.nan, math.inf, -math.inf, 10**400, 1 + 0j)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, parameter.name)
        for name in named_losses()
        for parameter in find_loss(name).settings.values()
        if isinstance(parameter.default, float)
    ],
)
def test_numbers_are_finite_numbers(name: str, setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{setting} is "):
        build_loss(name, **{setting: value})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("any", {"temperature": 0}, "temperature is 0; it must be a finite number above 0"),
        ("any", {"temperature": -0.1}, "temperature is -0.1"),
        ("any", {"distributed": True}, "distributed is True"),
        ("any", {"distributed": 0}, "distributed is 0"),
        ("any", {"gradient_reduction": "max"}, "gradient_reduction is 'max'"),
        ("any", {"cache_mib": -1}, "cache_mib is -1"),
        ("any", {"learnable_temperature": "false"}, "learnable_temperature is 'false'"),
        ("mulsupcon", {"per_anchor_mean": "false"}, "per_anchor_mean is 'false'; it must be True or False"),
        ("mulsupcon", {"per_anchor_mean": 1}, "per_anchor_mean is 1"),
        ("sd", {"normalizer": "sum"}, "normalizer is 'sum'; choose one of positives, weights"),
        ("sd", {"normalizer": ["weights"]}, "normalizer is"),
        ("relative", {"normalizer": None}, "normalizer is None"),
        ("sd", {"relation_weights": {"equal": -1}}, "relation_weights.equal is -1"),
        ("sd", {"relation_weights": {"subset": True}}, "relation_weights.subset is True"),
        ("sd", {"relation_weights": {"superset": "1"}}, "relation_weights.superset is '1'"),
        (
            "sd",
            {"relation_weights": {"equals": 1}},
            "no relation 'equals'; it has equal, overlap, subset, super",
        ),
        ("sd", {"relation_weights": {"disjoint": 1}}, "no relation 'disjoint'"),
        ("sd", {"relation_weights": 1.0}, "relation_weights is 1.0; give numbers by relation"),
        ("sd", {"relation_weights": [1, 1, 1, 1]}, "give numbers by relation"),
        (
            "random_weights",
            {"relation_weights": dict.fromkeys(("equal", "overlap", "subset", "superset"), 0)},
            "all 0",
        ),
        ("multisupcon", {"threshold": 2}, r"threshold is 2; it must be a number in \[0, 1\]"),
        ("asl", {"clip": 1.5}, "clip is 1.5"),
        ("linear", {"rate": -1}, "rate is -1; it must be a finite number ≥ 0"),
        ("sd", {"similarity_power": -1}, "similarity_power is -1"),
        ("random_weights", {"dissimilarity_power": -1}, "dissimilarity_power is -1"),
        ("asl", {"gamma_negative": -1}, "gamma_negative is -1"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss(name, **settings)


@pytest.mark.parametrize("value", [1, np.float32(0.5), np.int64(2), np.float64(0.25), 10**20])
def test_other_kinds_of_numbers_are_numbers(value: Any) -> None:
    loss = build_loss("sd", temperature=value, relation_weights={"overlap": value})
    assert type(loss.temperature) is float
    assert loss.temperature == value
    assert loss.rule.relation_weights == RelationWeights(overlap=value)
    rows = make_inputs(8)
    assert math.isfinite(float(loss(rows, multi_hot_labels([8]))))


@pytest.mark.parametrize("name", ["sd", "random_weights"])
def test_relation_weights_may_name_some_relations(name: str) -> None:
    given = {"overlap": 0.5, "superset": 0}
    assert build_loss(name, relation_weights=given).rule.relation_weights == RelationWeights(
        overlap=0.5, superset=0
    )
    assert build_loss(name, relation_weights={}).rule.relation_weights == RelationWeights()
    rule = SimilarityDissimilarityLoss(relation_weights=given).rule
    assert vars(rule)["relation_weights"] == RelationWeights(1, 0.5, 1, 0)


def test_focal_loss_and_cross_entropy_are_settings_of_asl() -> None:
    logits, labels = make_inputs(8) * 3, multi_hot_labels([8], 5)
    plain = AsymmetricLoss(0, 0, 0)(logits, labels)
    assert float(plain) == float(build_loss("bce")(logits, labels))
    p = logits.sigmoid()
    focal = -(labels * (1 - p) ** 2 * p.log() + (1 - labels) * p**2 * (1 - p).log()).mean()
    assert float(AsymmetricLoss(2, 2, 0)(logits, labels)) == pytest.approx(float(focal), rel=1e-12)
