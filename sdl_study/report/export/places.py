"""Where on this machine things came from, taken out of what leaves a study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdl_study.errors import UserError
from sdl_study.files import read_json
from sdl_study.references import is_file

ENCODER_FILE = "encoder.json"
_NOTES = ("_name_or_path", "name_or_path")  # where transformers notes the folder that a model came from
_OF_TRANSFORMERS = ("config.json", "tokenizer_config.json", "preprocessor_config.json")


def without_folders(value: Any) -> Any:
    """A setting's value with the last part alone of every path that starts at the root or at somebody's home."""
    if isinstance(value, Mapping):
        return {name: without_folders(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def rewritten(folder: Path) -> dict[str, Any]:
    """Of the JSON files in an encoder's folder those that name places: what shall stand there instead, by file name."""
    found = {}
    for name in _OF_TRANSFORMERS:
        content = read_json(folder / name) if (folder / name).is_file() else {}
        # Whatever else starts with "/" may be a token.
        if (own := _without_notes(content)) != content:
            found[name] = own
    encoder = read_json(folder / ENCODER_FILE)
    own = {**encoder, **{part: without_folders(encoder[part]) for part in ("kind", "settings")}}
    return found if own == encoder else {**found, ENCODER_FILE: own}


def _without_notes(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_notes(value) for key, value in content.items() if key not in _NOTES}
    return content


def own_module(folder: Path) -> Path | None:
    """The file of an encoder's kind, where that is the user's own.

    Raises:
        UserError: it is gone.
    """
    kind = read_json(folder / ENCODER_FILE)["kind"]
    if not is_file(kind):
        return None
    if not Path(kind).is_file():
        raise UserError(
            f"{kind}: the encoder's own module is gone, without which nobody can load it; put it back"
        )
    return Path(kind)
