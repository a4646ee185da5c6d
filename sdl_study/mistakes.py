"""What is wrong with settings, in words: one line per field, with its path."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

_OF_THE_STUDY = "; it stands in the study itself: Study(space, settings, arms=(ANY, SD), method='sd')"
LIST_EXAMPLES = {
    "controls": "('untrained', 'label_prior')",
    "probe.l2_grid": "(0.001, 0.01)",
}


def mistakes(error: ValidationError, title: str = "") -> list[str]:
    """What is wrong with settings, one line per field.

    Args:
        title: stands before the path of every field; that of the whole is "settings".
    """
    return [_mistake(detail, title) for detail in error.errors(include_url=False)]


def _mistake(detail: Any, title: str) -> str:
    inside = ".".join(str(part) for part in detail["loc"])
    path = ".".join(filter(None, (title, inside))) or "settings"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{path}: no such setting{_OF_THE_STUDY if inside in ('arms', 'method') else ''}"
    if detail["type"] == "missing":
        return f"{path}: is required"
    if detail["type"] == "tuple_type":
        example = LIST_EXAMPLES.get(inside, "(1, 2)")
        return f'{path}: needs a list, for example "{inside}={example}" (given {detail["input"]!r})'
    given = (
        ""
        if isinstance(detail.get("input"), (dict, list, BaseModel))
        else f" (given {detail.get('input')!r})"
    )
    return f"{path}: {message[:1].lower()}{message[1:]}{given}"
