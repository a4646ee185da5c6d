"""Multi-label supervised contrastive losses, exact over any number of workers; torch and numpy suffice."""

from sdl_study.label_sets import LabelSets
from sdl_study.losses.base import ContrastiveLoss, WeightedContrastiveLoss
from sdl_study.losses.cached import cached_backward
from sdl_study.losses.diagnostics import Diagnostics
from sdl_study.losses.random_weights import RandomWeightsLoss
from sdl_study.losses.relations import RELATIONS, RelationWeights
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.strategies import (
    STRATEGIES,
    AllLoss,
    AnyLoss,
    JaccardLoss,
    MulSupConLoss,
    MultiSupConLoss,
    SimilarityDissimilarityLoss,
    build_loss,
)

__all__ = [
    "RELATIONS",
    "STRATEGIES",
    "AllLoss",
    "AnyLoss",
    "ContrastiveLoss",
    "Diagnostics",
    "JaccardLoss",
    "LabelSets",
    "MulSupConLoss",
    "MultiSupConLoss",
    "RandomWeightsLoss",
    "RelationWeights",
    "SimilarityDissimilarityLoss",
    "WeightRule",
    "WeightedContrastiveLoss",
    "build_loss",
    "cached_backward",
]
