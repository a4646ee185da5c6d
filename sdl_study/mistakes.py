"""What is wrong with settings, in words: one line per field, with its path; and checks of single values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import AfterValidator, BaseModel, ValidationError

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


def one_of(choices: Collection[str]) -> AfterValidator:
    """A text that is one of some."""

    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def count_or_auto(value: object) -> int | Literal["auto"]:
    """A number of things, or ``auto``."""
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("is a whole number from 1 on, or 'auto'")
    return value
