"""What an encoder brings to training itself: its own learning rate, laid over ``train.learning_rate``.

A pretrained transformer and a small network from scratch learn at rates that lie orders of magnitude apart, so a study
that searches over both gives each its own range, ``model.encoders.NAME.learning_rate``: parameters of different names,
since one name has one distribution in an Optuna study. A job knows only ``train``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.setting_paths import with_values
from sdl_study.space import Parameter, SearchSpace

OF_TRAINING = ("learning_rate",)
"""Names among an encoder's settings that belong to training, as in ``train``; no kind sees them."""
_CHOICE = "model.encoder"


def without_training(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder as a study names it, without what belongs to training."""
    return {name: value for name, value in chosen.items() if name not in OF_TRAINING}


def laid_over(settings: Settings, origin: str) -> Settings:
    """Settings with what the chosen encoder brings in the place of ``train``'s own.

    Raises:
        UserError: a value out of range.
    """
    return _laid(settings, settings.model.encoder, origin)


def check_rates(settings: Settings, origin: str) -> None:
    """What the encoders bring to training are valid values.

    Raises:
        UserError: one line, naming the encoder.
    """
    for name in settings.model.encoders:
        _laid(settings, name, f"{origin}: model.encoders.{name}")


def check_one_rate(space: SearchSpace, settings: Settings, given: Iterable[str], origin: str) -> None:
    """Nobody searches or sets a value of ``train`` that an encoder's own would replace.

    Args:
        space: the search space.
        settings: of the study.
        given: what ``--set`` fixes, by dotted path.
        origin: stands first in the message.

    Raises:
        UserError: one line.
    """
    for key in OF_TRAINING:
        path = f"train.{key}"
        own = [name for name in settings.model.encoders if _brings(name, key, space, settings)]
        if path in given and own:
            raise UserError(
                f"--set {path}: encoder {own[0]} has its own; set model.encoders.{own[0]}.{key} instead"
            )
        for parameter in space.parameters:
            hidden = [name for name in own if _asked_with(parameter, name)] if parameter.name == path else []
            if hidden:
                others = tuple(name for name in settings.model.encoders if name not in own)
                raise UserError(
                    f"{origin}: search space: {path}: encoder {hidden[0]} has its own, which replaces it; "
                    f'search it when={{"{_CHOICE}": {others!r}}}, or not at all'
                )


def _laid(settings: Settings, encoder: str, origin: str) -> Settings:
    chosen = settings.model.encoders[encoder]
    own = {f"train.{name}": chosen[name] for name in OF_TRAINING if name in chosen}
    return with_values(settings, own, origin) if own else settings


def _brings(encoder: str, key: str, space: SearchSpace, settings: Settings) -> bool:
    path = f"model.encoders.{encoder}.{key}"
    return key in settings.model.encoders[encoder] or space.searches(path)


def _asked_with(parameter: Parameter, encoder: str) -> bool:
    """Whether a parameter may be asked in a trial of an encoder."""
    return all(encoder in allowed for name, allowed in parameter.when if name == _CHOICE)
