"""The losses of a study's arms: which settings they have, what is fixed, and whether every value can be used."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdl_study.arms import Arm, merged
from sdl_study.errors import UserError
from sdl_study.losses.catalogue import LossKind, find_loss

PREFIX = "loss."
JOINT_WEIGHT = "train.joint_weight"
TEMPERATURE = "loss.temperature"


@dataclass(frozen=True)
class ArmLoss:
    """An arm and the kind of its loss.

    Attributes:
        arm: the arm, its loss named as it is found from anywhere.
        kind: of its loss.
        sample: a value for every setting of the loss that the arm searches, as ``loss`` of the settings.
    """

    arm: Arm
    kind: LossKind
    sample: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, inspect.Parameter]:
        """What can be set of its loss and, where it trains jointly, of its classification loss."""
        joint = {} if self.arm.joint is None else find_loss(self.arm.joint).settings
        return {**joint, **self.kind.settings}

    def takes(self, path: str) -> bool:
        """Whether the arm can search a setting: any that is no loss's, and those of its loss that it does not fix.

        The weight of a joint training belongs to the arms that train jointly.
        """
        if path == JOINT_WEIGHT:
            return self.arm.joint is not None
        if not path.startswith(PREFIX):
            return True
        return self.has(path) and not _reaches(self.arm.fixed, _parts(path))

    def has(self, path: str) -> bool:
        """Whether its loss has the setting at a dotted path."""
        return _parts(path)[0] in self.settings

    def value(self, path: str, given: Mapping[str, Any]) -> Any:
        """The fixed value of a setting of the loss, its default included; None where the loss has no such setting."""
        node: Any = self.arm.loss_settings(given, self.settings)
        for part in _parts(path):
            if not isinstance(node, Mapping) or part not in node:
                return self._default(path)
            node = node[part]
        return node

    def _default(self, path: str) -> Any:
        parameter = self.settings.get(_parts(path)[0])
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
            UserError: the loss refuses a value or cannot be made, a setting that it needs is neither fixed, given nor
                searched, or it has parameters, which nobody would train.
        """
        values = merged(self.sample, given)
        try:
            loss = self.kind.build(self.arm.loss_settings(values, self.kind.settings))
            if self.arm.joint is not None:
                joint = find_loss(self.arm.joint)
                joint.build({name: value for name, value in values.items() if name in joint.settings})
        except ValueError as error:
            told = " ".join(str(error).split())
            names_setting = told.partition(" ")[0].partition(".")[0] in self.settings
            raise UserError(f"{where}: {PREFIX if names_setting else ''}{told}") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a constructor of the user's may raise anything)
            raise UserError(f"{where}: loss {self.arm.loss}: {_told(error)}") from None
        if any(parameter.requires_grad for parameter in loss.parameters()):
            raise UserError(
                f"{where}: loss {self.arm.loss} has parameters of its own, which a study does not train; make them "
                "settings and search them"
            )


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
    if kind.pretraining != ("contrastive" if arm.joint else arm.pretraining):
        raise UserError(
            f"{where}: loss {arm.loss} is {kind.pretraining}; write pretraining={kind.pretraining!r} in the arm"
        )
    for name in arm.fixed:
        if name not in kind.settings:
            raise UserError(f"{where}: fixed: loss {arm.loss} has no setting {name!r}; {_choices(kind)}")
    return ArmLoss(arm, kind)


def check_known(losses: Mapping[str, ArmLoss], given: Mapping[str, Any], origin: str) -> None:
    """Every setting that is given for the losses is one of some arm's, which does not fix it itself.

    Raises:
        UserError: one line.
    """
    for path in leaves(given):
        having = [name for name, loss in losses.items() if loss.has(path)]
        if not having:
            known = sorted({name for loss in losses.values() for name in loss.settings})
            raise UserError(
                f"{origin}: {path}: no such setting; the losses of these arms have {', '.join(known)}"
            )
        if not any(losses[name].takes(path) for name in having):
            raise UserError(f"{origin}: {path}: has no effect; arm {', '.join(having)} fixes it")


def variants(method: str | None, losses: Mapping[str, ArmLoss], ablates: bool = False) -> tuple[str, ...]:
    """The arms that are the method or another setting of its loss: none of them is what it is compared with.

    Args:
        method: the arm that the verdict is about.
        losses: of all arms.
        ablates: whether an arm that fixes another value than the method does, of anything but the temperature, is what
            it is compared with all the same.
    """
    if method is None:
        return ()
    of = losses[method]
    found = (
        name
        for name, loss in losses.items()
        if _identity(loss.kind.of) == _identity(of.kind.of)
        and not (ablates and _taken_away(loss) != _taken_away(of))
    )
    return tuple(found)


def _taken_away(loss: ArmLoss) -> tuple[str | None, dict[str, Any]]:
    fixed = {name: value for name, value in loss.arm.fixed.items() if f"{PREFIX}{name}" != TEMPERATURE}
    return loss.arm.joint, fixed


def _identity(of: type) -> tuple[str, str]:
    """The same for a class whatever name its module was found by."""
    return inspect.getfile(of), of.__qualname__


def own_code(losses: Mapping[str, ArmLoss]) -> dict[str, str]:
    """A digest of every loss that is the user's own, by its name in the study; comments and layout do not count.

    Not of the library's own classes: another version of it may word them differently, and still be the same loss.
    """
    return {
        name: code_digest(textwrap.dedent(inspect.getsource(loss.kind.of)))
        for name, loss in losses.items()
        if not loss.kind.of.__module__.startswith("sdl_study.")
    }


def code_digest(source: str) -> str:
    """SHA-256 of what some Python source means."""
    return hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(last.filename).name}:{last.lineno})"
    )


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


def leaves(node: Mapping[str, Any], path: str = PREFIX) -> Iterator[str]:
    """Dotted paths of the values of nested settings."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"
