"""The losses of a study's arms: which settings they have, what is fixed, and whether every value can be used."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sdl_study.arms import Arm
from sdl_study.errors import UserError
from sdl_study.losses.catalogue import LossKind, find_loss

PREFIX = "loss."


@dataclass(frozen=True)
class ArmLoss:
    """An arm and the kind of its loss."""

    arm: Arm
    kind: LossKind

    def takes(self, path: str) -> bool:
        """Whether the arm can search a setting: any that is no loss's, and those of its loss that it does not fix."""
        if not path.startswith(PREFIX):
            return True
        return self.has(path) and not _reaches(self.arm.fixed, _parts(path))

    def has(self, path: str) -> bool:
        """Whether its loss has the setting at a dotted path."""
        return _parts(path)[0] in self.kind.settings

    def value(self, path: str, given: Mapping[str, Any]) -> Any:
        """The fixed value of a setting of the loss, its default included; None where the loss has no such setting."""
        node: Any = self.arm.loss_settings(given, self.kind.settings)
        for part in _parts(path):
            if not isinstance(node, Mapping) or part not in node:
                return self._default(path)
            node = node[part]
        return node

    def _default(self, path: str) -> Any:
        parameter = self.kind.settings.get(_parts(path)[0])
        if (
            parameter is None
            or parameter.default is inspect.Parameter.empty
            or "." in path.removeprefix(PREFIX)
        ):
            return None
        return parameter.default

    def check(self, given: Mapping[str, Any], where: str) -> None:
        """Build the loss once.

        Raises:
            UserError: the loss refuses a value, or a setting that it needs is neither fixed nor given.
        """
        try:
            self.kind.build(self.arm.loss_settings(given, self.kind.settings))
        except (ValueError, TypeError) as error:
            told = " ".join(str(error).split())
            names_setting = told.partition(" ")[0].partition(".")[0] in self.kind.settings
            raise UserError(f"{where}: {PREFIX if names_setting else ''}{told}") from None


def losses_of(arms: tuple[Arm, ...], origin: str) -> dict[str, ArmLoss]:
    """The loss of every arm, found and compared with what the arm says of it.

    Raises:
        UserError: an unknown loss, one that trains otherwise than the arm says, or a fixed setting it has not.
    """
    return {arm.name: _loss_of(arm, f"{origin}: arm {arm.name}") for arm in arms}


def _loss_of(arm: Arm, where: str) -> ArmLoss:
    try:
        kind = find_loss(arm.loss)
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    if kind.pretraining != arm.pretraining:
        raise UserError(
            f"{where}: loss {arm.loss} is {kind.pretraining}; write pretraining={kind.pretraining!r} in the arm"
        )
    for name in arm.fixed:
        if name not in kind.settings:
            raise UserError(f"{where}: fixed: loss {arm.loss} has no setting {name!r}; {_choices(kind)}")
    return ArmLoss(arm, kind)


def check_given(losses: Mapping[str, ArmLoss], given: Mapping[str, Any], origin: str) -> None:
    """Every setting that is given for the losses is one of some arm's, and no loss refuses its value.

    Raises:
        UserError: one line.
    """
    for path in _leaves(given):
        if not any(loss.has(path) for loss in losses.values()):
            known = sorted({name for loss in losses.values() for name in loss.kind.settings})
            raise UserError(
                f"{origin}: {path}: no such setting; the losses of these arms have {', '.join(known)}"
            )
    for name, loss in losses.items():
        loss.check(given, f"{origin}: arm {name}")


def _choices(kind: LossKind) -> str:
    return f"it has {', '.join(kind.settings)}" if kind.settings else "it has none"


def _parts(path: str) -> list[str]:
    return path.removeprefix(PREFIX).split(".")


def _reaches(node: Mapping[str, Any], parts: list[str]) -> bool:
    """Whether a nested mapping says something about a path."""
    value: Any = node
    for part in parts:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return True


def _leaves(node: Mapping[str, Any], path: str = PREFIX) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"
