"""What the studies share: the parameters that every arm searches, the same for all."""

from __future__ import annotations

from sdl_study.arms import CONTRASTIVE
from sdl_study.space import Parameter, choice, log_uniform

RELATIONS = ("overlap", "subset", "superset")


def shared_parameters(encoders: tuple[str, ...], learning_rate: tuple[float, float]) -> tuple[Parameter, ...]:
    """Encoder, learning rate and, where there is one, the temperature of the contrastive loss."""
    return (
        choice("model.encoder", *encoders),
        log_uniform("train.learning_rate", *learning_rate),
        log_uniform("loss.temperature", 0.03, 0.5, arms=CONTRASTIVE),
    )


def relation_parameters(arms: tuple[str, ...] = ("sd_weighted",)) -> tuple[Parameter, ...]:
    """Powers of both factors and the weights of three relations; ``equal`` stays 1 and no weight is 0."""
    powers = ("loss.similarity_power", "loss.dissimilarity_power")
    weights = tuple(f"loss.relation_weights.{relation}" for relation in RELATIONS)
    return tuple(log_uniform(name, 0.1, 4.0, arms=arms) for name in powers + weights)


PUBLISHED_TEMPERATURE = 0.07
PUBLISHED_SD_WEIGHTED = {
    "loss.similarity_power": 1.0,
    "loss.dissimilarity_power": 1.0,
    **{f"loss.relation_weights.{relation}": 1.0 for relation in RELATIONS},
}
