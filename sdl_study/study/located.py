"""A job's settings as a worker needs them: it starts in another folder, where a relative path means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdl_study.models import locate_encoder


def located(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings (nested, as JSON) with the relative folders of tokenizer and encoders made absolute.

    What is no folder here, a name of the hub, stays as it is.
    """
    data, model = settings["data"], settings["model"]
    store = dict(data["store"])
    if store.get("tokenizer") == "pretrained" and Path(store.get("name", "")).is_dir():
        store["name"] = str(Path(store["name"]).absolute())
    encoders = {name: locate_encoder(chosen) for name, chosen in model["encoders"].items()}
    return settings | {"data": data | {"store": store}, "model": model | {"encoders": encoders}}
