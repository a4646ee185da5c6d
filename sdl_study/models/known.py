"""Configurations of the pretrained models that the project's own studies name, for machines without the hub.

``known.json`` holds sizes alone, each with the paper that tells them; the weights are always the hub's or the user's.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from sdl_study.models.pretrained import Pretrained

_FILE = Path(__file__).with_name("known.json")


@cache
def _table() -> dict[str, dict[str, Any]]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def known_models() -> tuple[str, ...]:
    """Names of the models whose sizes the project knows."""
    return tuple(_table())


def known_config(name: str) -> PreTrainedConfig | None:
    """The configuration of a model by its name on the hub, or by the last part of a path; None for all others."""
    from transformers import AutoConfig

    entry = _entry(name)
    if entry is None:
        return None
    sizes = dict(entry["config"])
    return AutoConfig.for_model(sizes.pop("model_type"), **sizes)


def config_or_known(settings: Pretrained) -> PreTrainedConfig:
    """A model's own configuration or, where that is out of reach, the one that the project knows.

    Raises:
        UserError: it is out of reach, and none that the project knows.
    """
    from sdl_study.models.pretrained import read_config

    try:
        return read_config(settings)
    except UserError:
        found = known_config(settings.name)
        if found is None:
            raise
        return found


def known_input(name: str) -> dict[str, int]:
    """What such a model reads at most: ``max_length`` in tokens, or ``image_size`` in pixels.

    Raises:
        UserError: it is none that the project knows.
    """
    entry = _entry(name)
    if entry is None:
        raise UserError(f"{name}: the project knows no sizes of it; it knows {', '.join(_table())}")
    return {key: entry[key] for key in ("max_length", "image_size") if key in entry}


def _entry(name: str) -> dict[str, Any] | None:
    return _table().get(name) or _table().get(Path(name).name)
