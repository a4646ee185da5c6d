"""What the studies share: the six arms and the parameters that every arm searches, the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdl_study.arms import ALL, ANY, BCE, MULSUPCON, SD, SD_WEIGHTED, Arm
from sdl_study.config import (
    BudgetSettings,
    DataSettings,
    ModelSettings,
    Objective,
    PrimaryMetric,
    ProjectionSettings,
    Settings,
    TrainSettings,
)
from sdl_study.data.sizes import DataSizes
from sdl_study.space import Parameter, ParameterValue, SearchSpace, Study, choice, log_uniform
from sdl_study.stages import ProbeSettings

ARMS = (BCE, ANY, ALL, MULSUPCON, SD, SD_WEIGHTED)
DEMO_ARMS = (BCE, ANY, SD, SD_WEIGHTED)  # as many as two cores train to convergence in minutes
Range = tuple[float, float]
RELATIONS = ("overlap", "subset", "superset")
PUBLISHED_TEMPERATURE = 0.07
TEMPERATURES = (0.03, 0.5)
PUBLISHED_SD_WEIGHTED: dict[str, ParameterValue] = {
    "loss.similarity_power": 1.0,
    "loss.dissimilarity_power": 1.0,
    **{f"loss.relation_weights.{relation}": 1.0 for relation in RELATIONS},
}

# What the first trial of an arm takes from a publication, and from which; the rest (encoder, learning rate, batch) is
# ours. Of MulSupCon's configuration the two views, the queue, the projection to 256 and the backbone's own learning
# rate are left out: here all arms have the same.
_SD_PAPER, _MULSUPCON = "arXiv 2410.13439", "MulSupCon's public configuration"
PUBLISHED_OF_ARM: dict[str, dict[str, ParameterValue]] = {MULSUPCON.name: {"loss.temperature": 0.1}}
ORIGINS = {
    **{arm.name: {"loss.temperature": _SD_PAPER} for arm in (ANY, ALL, SD)},
    MULSUPCON.name: {"loss.temperature": _MULSUPCON},
    SD_WEIGHTED.name: dict.fromkeys(("loss.temperature", *PUBLISHED_SD_WEIGHTED), _SD_PAPER),
}


def shared_parameters(
    encoders: tuple[str, ...], learning_rate: Range | Mapping[str, Range], temperature: Range
) -> tuple[Parameter, ...]:
    """Encoder, learning rate and, where there is one, the temperature of the contrastive loss.

    Args:
        encoders: names of those to choose from.
        learning_rate: lowest and highest, of all encoders or of each by its name.
        temperature: lowest and highest.
    """
    rates = (
        tuple(
            log_uniform(f"model.encoders.{encoder}.learning_rate", *ends, when={"model.encoder": encoder})
            for encoder, ends in learning_rate.items()
        )
        if isinstance(learning_rate, Mapping)
        else (log_uniform("train.learning_rate", *learning_rate),)
    )
    return (choice("model.encoder", *encoders), *rates, log_uniform("loss.temperature", *temperature))


def relation_parameters(arms: tuple[str, ...] = (SD_WEIGHTED.name,)) -> tuple[Parameter, ...]:
    """Powers of both factors and the weights of three relations; ``equal`` stays 1 and no weight is 0."""
    powers = ("loss.similarity_power", "loss.dissimilarity_power")
    weights = tuple(f"loss.relation_weights.{relation}" for relation in RELATIONS)
    return tuple(log_uniform(name, 0.1, 4.0, arms=arms) for name in powers + weights)


def six_arms(
    about: str,
    *,
    encoders: Mapping[str, dict[str, Any]],
    of_encoders: tuple[Parameter, ...],
    learning_rate: Range | Mapping[str, Range],
    first: Mapping[str, ParameterValue],
    data: DataSettings,
    train: TrainSettings,
    budget: BudgetSettings,
    objective: Objective = "dev/map",
    primary_metric: PrimaryMetric = "test/map",
    temperature: Range = TEMPERATURES,
    batch_sizes: tuple[int, ...] = (),
    projection: ProjectionSettings | None = None,
    probe: ProbeSettings | None = None,
    expects: DataSizes | None = None,
    arms: tuple[Arm, ...] = ARMS,
) -> Study:
    """A study of six arms over temperature, relation weights, learning rate and encoder.

    Args:
        about: one line.
        encoders: the encoders to choose from; the first is the published setting's.
        of_encoders: conditional parameters of single encoders.
        learning_rate: lowest and highest, of all encoders or of each by its name.
        first: the published setting of the parameters that are not the loss's.
        data, train, budget: fixed settings.
        objective, primary_metric: what is searched for on dev and compared on test; for notes the mean over
            documents, as in ICD coding.
        temperature: lowest and highest.
        batch_sizes: to choose from, at equal examples seen; with none it is not searched.
        projection: the contrastive arms' head.
        probe: the last stage of all arms.
        expects: how large the data are that the study is made for.
        arms: those of the six that run.
    """
    batch = (choice("train.batch_size", *batch_sizes),) if batch_sizes else ()
    return Study(
        about=about,
        arms=arms,
        method=SD.name,
        space=SearchSpace(
            parameters=(
                *shared_parameters(tuple(encoders), learning_rate, temperature),
                *of_encoders,
                *batch,
                *relation_parameters(),
            ),
            published={
                "model.encoder": next(iter(encoders)),
                "loss.temperature": PUBLISHED_TEMPERATURE,
                **first,
                **PUBLISHED_SD_WEIGHTED,
            },
            published_of_arm={
                arm.name: PUBLISHED_OF_ARM[arm.name] for arm in arms if arm.name in PUBLISHED_OF_ARM
            },
            origins=ORIGINS,
        ),
        settings=Settings(
            objective=objective,
            primary_metric=primary_metric,
            data=data,
            model=ModelSettings(
                encoder=next(iter(encoders)),
                encoders=dict(encoders),
                projection=projection or ProjectionSettings(),
            ),
            probe=probe or ProbeSettings(),
            train=train,
            budget=budget,
        ),
        expects=expects,
    )
