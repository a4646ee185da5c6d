"""One searched setting: its name, the distribution that its values come from, its condition, its arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sdl_study.errors import UserError

ParameterValue = float | int | str | bool | None


@dataclass(frozen=True)
class Parameter:
    """One searched setting.

    Attributes:
        name: dotted path of the setting, for example ``loss.temperature``.
        distribution: where its values come from.
        when: it is asked only where every named parameter (or fixed setting) has one of the given values.
        arms: the arms that search it; None means all that have such a setting.
    """

    name: str
    distribution: BaseDistribution
    when: tuple[tuple[str, tuple[ParameterValue, ...]], ...] = ()
    arms: tuple[str, ...] | None = None

    def in_arm(self, arm: str) -> bool:
        """Whether the arm searches this parameter."""
        return self.arms is None or arm in self.arms

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the conditions hold, given the values before it."""
        return all(values.get(name) in allowed for name, allowed in self.when)

    def can_be(self, value: ParameterValue) -> bool:
        """Whether its distribution can give a value."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return value in distribution.choices
        return isinstance(value, int | float) and distribution._contains(distribution.to_internal_repr(value))


def suggest_from(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> ParameterValue:
    """Ask a trial for one value of a distribution object."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_float(name, low, high, log=distribution.log, step=distribution.step)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, log=distribution.log, step=distribution.step)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    raise UserError(
        f"search space: {name}: distributions of type {type(distribution).__name__} are not known"
    )


def uniform(name: str, low: float, high: float, **where: Any) -> Parameter:
    """A number between low and high."""
    return Parameter(name, FloatDistribution(low, high), **_where(where))


def log_uniform(name: str, low: float, high: float, **where: Any) -> Parameter:
    """A number between low and high, uniform in its logarithm."""
    return Parameter(name, FloatDistribution(low, high, log=True), **_where(where))


def integer(name: str, low: int, high: int, step: int = 1, **where: Any) -> Parameter:
    """A whole number from low to high."""
    return Parameter(name, IntDistribution(low, high, step=step), **_where(where))


def choice(name: str, *choices: ParameterValue, **where: Any) -> Parameter:
    """One of the given values."""
    return Parameter(name, CategoricalDistribution(choices), **_where(where))


def _where(where: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(where) - {"when", "arms"}
    if unknown:
        raise TypeError(f"unknown keyword {unknown.pop()!r}; a parameter takes when= and arms=")
    if isinstance(where.get("arms"), str):
        raise TypeError(f"arms={where['arms']!r}; write arms=({where['arms']!r},)")
    conditions = tuple(
        (name, tuple(allowed) if isinstance(allowed, tuple | list) else (allowed,))
        for name, allowed in (where.get("when") or {}).items()
    )
    return {"when": conditions, "arms": where.get("arms")}
