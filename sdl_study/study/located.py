"""What a study names beside itself or by relative paths, as it is found from anywhere.

A worker starts in another folder, where a relative path means nothing; study.json keeps the names as they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdl_study.models import encoder_reads, locate_encoder
from sdl_study.references import anchored
from sdl_study.study.own_rates import without_training


def encoder_of(chosen: Mapping[str, Any], module: Path | None) -> tuple[str, dict[str, Any]]:
    """Kind and its settings of an encoder as a study names it, without what it brings to training.

    Args:
        module: the study's own file, beside which a kind of one's own is looked for.
    """
    settings = without_training(chosen)
    return anchored(settings.pop("kind"), module), settings


def located(settings: dict[str, Any], module: Path | None = None) -> dict[str, Any]:
    """Settings (nested, as JSON) of a job: files of encoder kinds and folders of models made absolute, and the
    settings of the store as the chosen encoder reads it.

    What is no file or folder here, a name of the catalogue or of the hub, stays as it is.
    """
    data, model = settings["data"], settings["model"]
    store = dict(data["store"])
    if store.get("tokenizer") == "pretrained" and Path(store.get("name", "")).is_dir():
        store["name"] = str(Path(store["name"]).absolute())
    encoders = {
        name: locate_encoder(*encoder_of(chosen, module)) for name, chosen in model["encoders"].items()
    }
    store |= encoder_reads(*encoder_of(encoders[model["encoder"]], None))
    return settings | {"data": data | {"store": store}, "model": model | {"encoders": encoders}}
