"""Losses by name: the files of ``named/``, and classes of one's own by ``module:Class`` or ``path/file.py:Class``.

What a loss can be set to is its own constructor's signature; nothing is listed here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import nn

from sdl_study.losses import named
from sdl_study.losses.base import ContrastiveLoss, WeightedContrastiveLoss
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.supervised import SupervisedLoss
from sdl_study.references import load_object

Pretraining = Literal["contrastive", "supervised"]
Parameters = Mapping[str, inspect.Parameter]

_TEMPERATURE = "temperature"
_OF_THE_RUN = MappingProxyType(
    {
        name: parameter
        for name, parameter in inspect.signature(ContrastiveLoss).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
)
"""What the program that calls a contrastive loss decides (process group, memory, ...), not the study."""


@dataclass(frozen=True)
class LossKind:
    """A loss that can be built.

    Attributes:
        reference: the name it was found by.
        pretraining: what it takes: ``contrastive`` embeddings, or ``supervised`` logits.
        settings: what can be set, by name, with its default if it has one: the constructor's own signature, and
            the temperature of a contrastive loss.
        of: the class of the loss, or of its weight rule.
    """

    reference: str
    pretraining: Pretraining
    settings: Parameters
    of: type
    _made_by: Callable[..., nn.Module]

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        """The loss with these settings, and its defaults for all others.

        Raises:
            ValueError: a setting that it has not (the message names those it has), one that is missing, or a value
                that its constructor refuses.
        """
        return self._build(settings, self.settings)

    def _build(self, settings: Mapping[str, Any], allowed: Parameters) -> nn.Module:
        self._check(settings, allowed)
        try:
            return self._made_by(**settings)
        except TypeError as error:  # a constructor of the user's own that was given a value of another kind
            raise ValueError(f"loss {self.reference!r}: {error}") from error

    def _check(self, settings: Mapping[str, Any], allowed: Parameters) -> None:
        for name in settings:
            if name not in allowed:
                raise ValueError(
                    f"loss {self.reference!r} has no setting {name!r}; it has {_listed(allowed)}"
                )
        for name, parameter in self.settings.items():
            if parameter.default is parameter.empty and name not in settings:
                raise ValueError(f"loss {self.reference!r} needs the setting {name!r}, which has no default")


def named_losses() -> tuple[str, ...]:
    """The names of the catalogue, in alphabetical order: the files of ``named/``."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(named.__path__) if not m.name.startswith("_")))


def find_loss(reference: str) -> LossKind:
    """The loss of a catalogue name, or of one's own ``module:Class`` or ``path/file.py:Class``.

    The class is a ``WeightRule`` (the loss is then ``WeightedContrastiveLoss`` of it), a ``ContrastiveLoss`` or a
    ``SupervisedLoss``.

    Raises:
        ValueError: an unknown name (the message lists the choices), a missing module, a module that raised, or an
            object of another kind; in one line.
    """
    if not isinstance(reference, str):
        raise ValueError(f"loss is {reference!r}; give a name or module:Class")
    found = _class_of(reference)
    if not isinstance(found, type) or not issubclass(found, WeightRule | ContrastiveLoss | SupervisedLoss):
        raise ValueError(
            f"loss {reference!r} is no class that derives from WeightRule, ContrastiveLoss or SupervisedLoss"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ValueError(f"loss {reference!r} cannot be made: it does not define {missing}")
    if issubclass(found, WeightRule):
        return _kind_of_rule(reference, found)
    pretraining: Pretraining = "contrastive" if issubclass(found, ContrastiveLoss) else "supervised"
    return LossKind(reference, pretraining, _settings_of(found), found, found)


def build_loss(reference: str, **settings: Any) -> Any:
    """Make a loss by its name in the catalogue or its ``module:Class``: a ``ContrastiveLoss`` or ``SupervisedLoss``.

    Args:
        reference: as in ``find_loss``.
        **settings: of the loss; a contrastive loss also takes those of ``ContrastiveLoss`` (``process_group`` and
            others), which are no settings of a study. Relation weights may be a mapping.

    Raises:
        ValueError: as ``find_loss`` and ``LossKind.build``.
    """
    kind = find_loss(reference)
    of_the_run = _OF_THE_RUN if kind.pretraining == "contrastive" else {}
    return kind._build(settings, {**kind.settings, **of_the_run})


def _class_of(reference: str) -> Any:
    """What a reference names, whatever it is."""
    if reference in named_losses():
        return importlib.import_module(f"{named.__name__}.{reference}").LOSS
    if ":" not in reference:
        raise ValueError(
            f"unknown loss {reference!r}; choose one of {', '.join(named_losses())}, or name a class of your own as "
            "module:Class or path/file.py:Class"
        )
    try:
        return load_object(reference)
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        if not told.startswith(repr(reference)):
            told = f"{reference!r}: {type(error).__name__}: {told}"
        raise ValueError(f"loss {told}") from error


def _kind_of_rule(reference: str, rule: type[WeightRule]) -> LossKind:
    own = _settings_of(rule)
    if _TEMPERATURE in own:
        raise ValueError(f"loss {reference!r} takes a temperature: that is the loss's, not its weight rule's")

    def made(**settings: Any) -> nn.Module:
        of_rule = {name: settings.pop(name) for name in own if name in settings}
        return WeightedContrastiveLoss(rule(**of_rule), **settings)

    temperature = inspect.signature(ContrastiveLoss).parameters[_TEMPERATURE]
    return LossKind(
        reference, "contrastive", MappingProxyType({_TEMPERATURE: temperature, **own}), rule, made
    )


def _settings_of(found: type) -> Parameters:
    """The named parameters of a constructor; where it hands others on (``**settings``), those of the next class too."""
    settings: dict[str, inspect.Parameter] = {}
    for cls in found.__mro__:
        if "__init__" not in vars(cls):
            continue
        own = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        if cls in (WeightedContrastiveLoss, ContrastiveLoss):  # a derived class gives it its rule
            own = [parameter for parameter in own if parameter.name == _TEMPERATURE]
        for parameter in own:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                settings.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
            break
    of_the_study = {name: parameter for name, parameter in settings.items() if name not in _OF_THE_RUN}
    return MappingProxyType(of_the_study)


def _listed(settings: Parameters) -> str:
    return ", ".join(settings) if settings else "none"
