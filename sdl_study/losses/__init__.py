"""Multi-label losses, exact over any number of workers; torch and numpy suffice."""

from functools import partial

from sdl_study.label_sets import LabelSets
from sdl_study.losses.base import ContrastiveLoss, WeightedContrastiveLoss
from sdl_study.losses.cached import cached_backward
from sdl_study.losses.catalogue import LossKind, build_loss, find_loss, named_losses
from sdl_study.losses.diagnostics import Diagnostics
from sdl_study.losses.errors import NonFiniteEmbeddingsError
from sdl_study.losses.joint import JointLoss
from sdl_study.losses.named.all import AllLoss
from sdl_study.losses.named.any import AnyLoss
from sdl_study.losses.named.asl import AsymmetricLoss
from sdl_study.losses.named.bce import BinaryCrossEntropyLoss
from sdl_study.losses.named.jaccard import JaccardLoss
from sdl_study.losses.named.mulsupcon import MulSupConLoss
from sdl_study.losses.named.multisupcon import MultiSupConLoss
from sdl_study.losses.named.random_weights import RandomWeightsLoss
from sdl_study.losses.named.sd import SimilarityDissimilarityLoss
from sdl_study.losses.relations import RELATIONS, RelationWeights
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.supervised import SupervisedLoss

CONTRASTIVE_LOSSES = {
    name: partial(build_loss, name) for name in named_losses() if find_loss(name).pretraining == "contrastive"
}
"""What makes each contrastive loss of the catalogue, by name."""

__all__ = [
    "CONTRASTIVE_LOSSES",
    "RELATIONS",
    "AllLoss",
    "AnyLoss",
    "AsymmetricLoss",
    "BinaryCrossEntropyLoss",
    "ContrastiveLoss",
    "Diagnostics",
    "JaccardLoss",
    "JointLoss",
    "LabelSets",
    "LossKind",
    "MulSupConLoss",
    "MultiSupConLoss",
    "NonFiniteEmbeddingsError",
    "RandomWeightsLoss",
    "RelationWeights",
    "SimilarityDissimilarityLoss",
    "SupervisedLoss",
    "WeightRule",
    "WeightedContrastiveLoss",
    "build_loss",
    "cached_backward",
    "find_loss",
    "named_losses",
]
