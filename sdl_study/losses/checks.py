"""Checks of a loss's settings; each names the setting, what it is and what it must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any


def _is_number(value: Any) -> bool:
    """A finite number; a truth value is none, nor is text that looks like one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def positive_number(name: str, value: Any) -> float:
    """A finite number above 0.

    Raises:
        ValueError: anything else; so do all checks here.
    """
    if not (_is_number(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; it must be a finite number above 0")
    return float(value)


def number_from_zero(name: str, value: Any) -> float:
    """A finite number ≥ 0."""
    if not (_is_number(value) and value >= 0):
        raise ValueError(f"{name} is {value!r}; it must be a finite number ≥ 0")
    return float(value)


def share(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    if not (_is_number(value) and 0 <= value <= 1):
        raise ValueError(f"{name} is {value!r}; it must be a number in [0, 1]")
    return float(value)


def truth(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be True or False")
    return value


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some words."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
    return value
