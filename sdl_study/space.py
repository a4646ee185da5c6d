"""Search space: named parameters with Optuna distributions, conditions, arms, published points and a fingerprint.

A parameter's name is the dotted path of the setting that it replaces. Parameters are asked in the order in which
they stand; a condition may look only at parameters before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import distribution_to_json

from sdl_study.arms import AGAIN, Arm
from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.parameters import (
    Parameter,
    ParameterValue,
    choice,
    integer,
    log_uniform,
    suggest_from,
    uniform,
)


@dataclass(frozen=True)
class SearchSpace:
    """The parameters of a study and the published setting of each arm (trial 0).

    ``published`` maps parameter names to values; ``published_of_arm`` overrides them for single arms. ``origins`` says,
    by arm and parameter, where a value was published; the other values of trial 0 are the study's own.
    """

    parameters: tuple[Parameter, ...]
    published: Mapping[str, ParameterValue] = field(default_factory=dict)
    published_of_arm: Mapping[str, Mapping[str, ParameterValue]] = field(default_factory=dict)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) != len(names):
            raise UserError(f"search space: parameter {_first_double(names)!r} stands twice")
        for name, value in self._published_points():
            self._check_published(name, value)

    def _published_points(self) -> Iterable[tuple[str, ParameterValue]]:
        yield from self.published.items()
        for point in self.published_of_arm.values():
            yield from point.items()

    def _check_published(self, name: str, value: ParameterValue) -> None:
        known = {parameter.name: parameter for parameter in self.parameters}
        if name not in known:
            raise UserError(f"search space: published point names {name!r}, which is no parameter")
        if not known[name].can_be(value):
            raise UserError(
                f"search space: published {name}={value!r} lies outside {known[name].distribution}"
            )

    def of_arm(self, arm: str) -> tuple[Parameter, ...]:
        """The parameters that an arm searches, in order."""
        return tuple(parameter for parameter in self.parameters if parameter.in_arm(arm))

    def searches(self, name: str) -> bool:
        """Whether any arm searches this parameter."""
        return any(parameter.name == name for parameter in self.parameters)

    def without(self, names: Iterable[str]) -> SearchSpace:
        """The space with some parameters fixed elsewhere, by their own names or by that of a section above them;
        conditions on them then read the fixed setting."""
        fixed = tuple(names)
        gone = {
            p.name
            for p in self.parameters
            if any(p.name == name or p.name.startswith(f"{name}.") for name in fixed)
        }
        kept = tuple(parameter for parameter in self.parameters if parameter.name not in gone)
        return replace(
            self,
            parameters=kept,
            published=_without_keys(self.published, gone),
            published_of_arm={
                arm: _without_keys(point, gone) for arm, point in self.published_of_arm.items()
            },
        )

    def suggest(self, trial: optuna.Trial, arm: str, fixed: Mapping[str, Any]) -> dict[str, ParameterValue]:
        """Ask an Optuna trial for the active parameters of an arm.

        Args:
            trial: the trial that is being asked.
            arm: name of the arm.
            fixed: settings outside the space on which conditions may depend, by dotted path.
        """
        values: dict[str, ParameterValue] = {}
        for parameter in self.of_arm(arm):
            if parameter.active({**fixed, **values}):
                values[parameter.name] = suggest_from(trial, parameter.name, parameter.distribution)
        return values

    def published_point(self, arm: str, fixed: Mapping[str, Any]) -> dict[str, ParameterValue]:
        """The published setting of an arm, restricted to its active parameters."""
        return self.point_within(arm, fixed, {**self.published, **self.published_of_arm.get(arm, {})})

    def point_within(
        self, arm: str, fixed: Mapping[str, Any], point: Mapping[str, ParameterValue]
    ) -> dict[str, ParameterValue]:
        """What an arm can be asked of a point: its active parameters, where their ranges hold the point's values."""
        values: dict[str, ParameterValue] = {}
        for parameter in self.of_arm(arm):
            known = parameter.name in point and parameter.can_be(point[parameter.name])
            if known and parameter.active({**fixed, **values}):
                values[parameter.name] = point[parameter.name]
        return values

    def of_arms(self, takes: Mapping[str, Callable[[str], bool]]) -> SearchSpace:
        """The space with every parameter's arms named: those that have such a setting, where none were.

        Args:
            takes: arm → whether it has a setting to search, by dotted path.
        """
        return replace(
            self,
            parameters=tuple(
                replace(p, arms=tuple(arm for arm in takes if takes[arm](p.name))) if p.arms is None else p
                for p in self.parameters
            ),
        )

    def described(self) -> dict[str, Any]:
        """Parameters, conditions and published points as plain data: what a resumed study is compared by."""
        return {
            "parameters": {
                p.name: {
                    "distribution": json.loads(distribution_to_json(p.distribution)),
                    "when": [[name, list(allowed)] for name, allowed in p.when],
                    "arms": None if p.arms is None else list(p.arms),
                }
                for p in self.parameters
            },
            "order": [p.name for p in self.parameters],
            "published": dict(self.published),
            "published_of_arm": {arm: dict(point) for arm, point in self.published_of_arm.items()},
        }


@dataclass(frozen=True)
class Study:
    """What a search-space module exports as STUDY; its name is the module's.

    Attributes:
        space: what is searched.
        settings: what is fixed.
        arms: what is compared.
        method: the arm that the verdict is about; None makes a study without a verdict.
        about: one line.
        expects: how large the data are that it is made for, for a forecast without them.
        published: numbers of others to stand below its answer, one line each.
        ablates: the arms that fix a setting of the method's loss (its temperature aside) are what the method is
            compared with; otherwise they are variants of it, and no comparator.
        aa: the method's winner is trained once more on other seeds (``aa``); from five seeds on it always is.

    Raises:
        UserError: no arm, two arms of one name, or a method or a parameter of an arm that is not there.
    """

    space: SearchSpace
    settings: Settings
    arms: tuple[Arm, ...]
    method: str | None = None
    about: str = ""
    expects: DataSizes | None = None
    published: tuple[str, ...] = ()
    ablates: bool = False
    aa: bool = False

    def __post_init__(self) -> None:
        if not self.arms or not all(isinstance(arm, Arm) for arm in self.arms):
            raise UserError("study: arms: needs at least one, for example arms=(ANY, SD) of sdl_study.arms")
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise UserError(f"study: arm {_first_double(names)!r} stands twice; give one another name")
        if self.method is not None and self.method not in names:
            raise UserError(f"study: method {self.method!r} is none of its arms: {', '.join(names)}")
        for parameter in self.space.parameters:
            self._check_arms(f"search space: {parameter.name}", parameter.arms or ())
        self._check_arms("search space: published_of_arm", self.space.published_of_arm)

    def _check_arms(self, where: str, arms: Iterable[str]) -> None:
        names = [arm.name for arm in self.arms]
        for arm in arms:
            if arm not in names:
                raise UserError(f"{where}: unknown arm {arm!r}; the study has {', '.join(names)}")

    def of_arms(self, names: Iterable[str]) -> Study:
        """The study with some of its arms; ``aa`` among the names asks for the A/A arm, which is the method's.

        Raises:
            UserError: a name that no arm has, none at all, or one twice.
        """
        known = {arm.name: arm for arm in self.arms}
        chosen = tuple(names)
        if not all(isinstance(name, str) for name in chosen):
            raise UserError(f"arms: needs names, not {chosen!r}")
        again = AGAIN in chosen and AGAIN not in known
        chosen = tuple(name for name in chosen if not again or name != AGAIN)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise UserError(f"arms: unknown arm {unknown[0]!r}; this study has {', '.join(known)}")
        if not chosen or len(set(chosen)) != len(chosen):
            raise UserError("arms: needs at least one arm, each named once")
        space = replace(
            self.space,
            parameters=tuple(
                p if p.arms is None else replace(p, arms=tuple(arm for arm in p.arms if arm in chosen))
                for p in self.space.parameters
            ),
            published_of_arm={
                arm: point for arm, point in self.space.published_of_arm.items() if arm in chosen
            },
        )
        method = self.method if self.method in chosen else None
        return replace(self, arms=tuple(known[name] for name in chosen), space=space, method=method, aa=again)


def _without_keys(point: Mapping[str, ParameterValue], gone: set[str]) -> dict[str, ParameterValue]:
    return {name: value for name, value in point.items() if name not in gone}


def _first_double(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


__all__ = [
    "Parameter", "ParameterValue", "SearchSpace", "Study", "choice", "integer", "log_uniform", "suggest_from",
    "uniform",
]  # fmt: skip
