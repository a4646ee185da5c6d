"""Every loss and setting that is compared with the oracle: its name there, its settings there, our loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdl_study.losses import (
    ContrastiveLoss,
    MulSupConLoss,
    RelationWeights,
    SimilarityDissimilarityLoss,
    WeightedContrastiveLoss,
    build_loss,
)
from sdl_study.losses.named.all import AllRule

WEIGHTS = {"equal": 1.0, "overlap": 0.3, "subset": 2.5, "superset": 0.7}
ONLY_EQUAL = {"equal": 1.0, "overlap": 0.0, "subset": 0.0, "superset": 0.0}


@dataclass(frozen=True)
class Variant:
    """One loss under test."""

    name: str
    oracle: str
    make: Callable[..., ContrastiveLoss]
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _sd(**ours: Any) -> Callable[..., ContrastiveLoss]:
    return lambda temperature, **common: SimilarityDissimilarityLoss(temperature, **ours, **common)


def _rule(rule: Any) -> Callable[..., ContrastiveLoss]:
    return lambda temperature, **common: WeightedContrastiveLoss(rule, temperature, **common)


def _named(name: str, **settings: Any) -> Callable[..., ContrastiveLoss]:
    return lambda temperature, **common: build_loss(name, temperature=temperature, **settings, **common)


VARIANTS = [
    Variant("all", "all", _named("all")),
    Variant("all as a rule", "all", _rule(AllRule())),
    Variant("any", "any", _named("any")),
    Variant("sd", "sd", _named("sd")),
    Variant("sd by weights", "sd", _named("sd", normalizer="weights"), {"normalizer": "weights"}),
    Variant(
        "sd with powers and relation weights",
        "sd",
        _sd(similarity_power=0.6, dissimilarity_power=1.7, relation_weights=RelationWeights(**WEIGHTS)),
        {"alpha": 0.6, "beta": 1.7, "rho": WEIGHTS},
    ),
    Variant("similarity only", "sd", _sd(dissimilarity_power=0), {"beta": 0.0}),
    Variant("dissimilarity only", "sd", _sd(similarity_power=0), {"alpha": 0.0}),
    Variant(
        "sd on equal sets only",
        "sd",
        _sd(relation_weights=RelationWeights(**ONLY_EQUAL)),
        {"rho": ONLY_EQUAL},
    ),
    Variant("jaccard", "jaccard", _named("jaccard")),
    Variant("multisupcon", "multisupcon", _named("multisupcon")),
    Variant("multisupcon .3", "multisupcon", _named("multisupcon", threshold=0.3), {"threshold": 0.3}),
    Variant("mulsupcon", "mulsupcon", MulSupConLoss),
    Variant(
        "mulsupcon per anchor",
        "mulsupcon",
        _named("mulsupcon", per_anchor_mean=True),
        {"per_anchor_mean": True},
    ),
    Variant("random_weights", "random_weights", _named("random_weights"), {"step": 0}),
    Variant("exponential", "exponential", _named("exponential", rate=0.5), {"rate": 0.5}),
    Variant("linear", "linear", _named("linear", rate=0.2), {"rate": 0.2}),
    Variant("relative", "relative", _named("relative")),
    Variant("symmetric", "symmetric", _named("symmetric")),
]
