"""Settings by their dotted paths (``loss.temperature``): read, replaced, and told what they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdl_study.config import Settings, build_settings
from sdl_study.errors import UserError


def with_values(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    """Settings with dotted paths replaced, for example ``{"loss.temperature": 0.1}``.

    Raises:
        UserError: a path that the settings do not have, or a value out of range.
    """
    tree = settings.model_dump(mode="python")
    for path, value in values.items():
        _place(tree, path, value, origin)
    return build_settings(tree, origin)


def _place(tree: dict[str, Any], path: str, value: Any, origin: str) -> None:
    *parents, leaf = path.split(".")
    node: Any = tree
    for part in parents:
        if path.startswith("loss.") and isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"{origin}: {path}: no such setting")
    open_ended = path.startswith(("model.encoders.", "data.store.", "loss."))
    if leaf not in node and not open_ended:
        near = ", ".join(sorted(node))
        raise UserError(
            f"{origin}: {path}: no such setting; {'.'.join(parents) or 'the settings'} has {near}"
        )
    node[leaf] = value


def takes_text(path: str) -> bool:
    """Whether the setting at a dotted path is a text, so that digits given for it are one too."""
    section: Any = Settings
    for part in path.split("."):
        field = getattr(section, "model_fields", {}).get(part)
        if field is None:
            return False
        section = field.annotation
    return section in (str, str | None)


def value_at(settings: Settings, path: str) -> Any:
    """The setting at a dotted path.

    Raises:
        UserError: the settings have no such path.
    """
    node: Any = settings
    for part in path.split("."):
        known = node if isinstance(node, Mapping) else getattr(type(node), "model_fields", {})
        if part not in known:
            raise UserError(f"{path}: no such setting")
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node
