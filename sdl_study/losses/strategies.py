"""The named losses, and `build_loss` that makes one from a study's settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sdl_study.losses.base import ContrastiveLoss, WeightedContrastiveLoss
from sdl_study.losses.core import Positives
from sdl_study.losses.exchange import Batch
from sdl_study.losses.label_positives import LabelPositives, distinct_sets
from sdl_study.losses.random_weights import RandomWeightsLoss
from sdl_study.losses.relations import RelationWeights
from sdl_study.losses.rules import (
    AllRule,
    AnyRule,
    JaccardRule,
    MultiSupConRule,
    Normalizer,
    SimilarityDissimilarityRule,
)
from sdl_study.losses.tiles import TilePlan


class SimilarityDissimilarityLoss(WeightedContrastiveLoss):
    """Positives weighted by the shared part of the anchor's labels and against the candidate's foreign labels.

    ω_ij = ρ_R · (|S∩T|/|S|)^α · (1/(1+|T|−|S∩T|))^β / (|P(i)|·V).

    Source: arXiv 2410.13439 (α = β = 1, ρ = 1); powers, relation weights and normalizer "weights" are ours.

    Args:
        similarity_power, dissimilarity_power: α and β, ≥ 0.
        relation_weights: ρ for equal, overlapping, sub- and superset label sets.
        normalizer: "positives" divides by |P(i)|, "weights" by the sum of the anchor's weights.
        temperature, **settings: as in `ContrastiveLoss`.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        similarity_power: float = 1.0,
        dissimilarity_power: float = 1.0,
        relation_weights: RelationWeights | None = None,
        normalizer: Normalizer = "positives",
        **settings: Any,
    ) -> None:
        rule = SimilarityDissimilarityRule(
            similarity_power, dissimilarity_power, relation_weights, normalizer
        )
        super().__init__(rule, temperature, **settings)


class AllLoss(WeightedContrastiveLoss):
    """Positives are the candidates with the anchor's very label set: ω = [S=T≠∅] / (|P(i)|·V)."""

    def __init__(self, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(AllRule(), temperature, **settings)

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        # equal sets are found once by name: no pair of the batch has to be counted
        return LabelPositives(distinct_sets(batch.labels), batch, plan, 1 / self.temperature, "anchors")


class AnyLoss(WeightedContrastiveLoss):
    """Positives are the candidates with at least one label of the anchor: ω = [S∩T≠∅] / (|P(i)|·V)."""

    def __init__(self, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(AnyRule(), temperature, **settings)


class JaccardLoss(WeightedContrastiveLoss):
    """Positives weighted by their Jaccard index: ω = |S∩T| / |S∪T| / (|P(i)|·V)."""

    def __init__(
        self, temperature: float = 0.07, normalizer: Normalizer = "positives", **settings: Any
    ) -> None:
        super().__init__(JaccardRule(normalizer), temperature, **settings)


class MultiSupConLoss(WeightedContrastiveLoss):
    """Jaccard weights where the Jaccard index reaches a threshold; fewer candidates are positives."""

    def __init__(
        self,
        temperature: float = 0.07,
        threshold: float = 0.5,
        normalizer: Normalizer = "positives",
        **settings: Any,
    ) -> None:
        super().__init__(MultiSupConRule(threshold, normalizer), temperature, **settings)


class MulSupConLoss(ContrastiveLoss):
    """One supervised contrastive term per label of the anchor: ω = Σ_{l∈S∩T} 1/n_il / R.

    n_il counts the candidates with label l, R the (anchor, label) rows with n_il ≥ 1.

    Args:
        per_anchor_mean: divide by m_i·V instead of R: each anchor's labels are averaged first (m_i labels of
            anchor i have n_il ≥ 1), then the anchors.
        temperature, **settings: as in `ContrastiveLoss`.
    """

    def __init__(self, temperature: float = 0.07, per_anchor_mean: bool = False, **settings: Any) -> None:
        super().__init__(temperature, **settings)
        self.per_anchor_mean = bool(per_anchor_mean)

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        mean = "anchors" if self.per_anchor_mean else "rows"
        return LabelPositives(batch.labels, batch, plan, 1 / self.temperature, mean)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, per_anchor_mean={self.per_anchor_mean}"


STRATEGIES: dict[str, Callable[..., ContrastiveLoss]] = {
    "all": AllLoss,
    "any": AnyLoss,
    "sd": SimilarityDissimilarityLoss,
    "jaccard": JaccardLoss,
    "mulsupcon": MulSupConLoss,
    "multisupcon": MultiSupConLoss,
    "random_weights": RandomWeightsLoss,
}


def settings_of(strategy: str) -> tuple[str, ...]:
    """The settings that a strategy has, besides those every loss has."""
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")
    parameters = inspect.signature(STRATEGIES[strategy]).parameters.values()
    return tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


_COMMON = tuple(
    name for name, p in inspect.signature(ContrastiveLoss).parameters.items() if p.kind is p.KEYWORD_ONLY
)


def build_loss(strategy: str, *, temperature: float, **settings: Any) -> ContrastiveLoss:
    """Make the loss of a strategy from settings; relation weights may be given as a mapping.

    Raises:
        ValueError: an unknown strategy, or a setting that the strategy has not; the message names the choices.
    """
    allowed = settings_of(strategy)
    for name in settings:
        if name not in allowed + _COMMON:
            choices = ", ".join(allowed + _COMMON)
            raise ValueError(f"strategy {strategy!r} has no setting {name!r}; it has {choices}")
    weights = settings.get("relation_weights")
    if isinstance(weights, dict):
        settings["relation_weights"] = RelationWeights(**weights)
    return STRATEGIES[strategy](temperature=temperature, **settings)
