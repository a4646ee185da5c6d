"""Arms: the ways of training that a study compares fairly. A study declares its own; these are the known ones."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal

from sdl_study.errors import UserError

Pretraining = Literal["contrastive", "supervised", "joint"]
UNTRAINED, FROZEN, LABEL_PRIOR, TFIDF, RAW = "untrained", "frozen", "label_prior", "tfidf", "raw"
CONTROLS = (UNTRAINED, FROZEN, LABEL_PRIOR, TFIDF, RAW)
AGAIN = "aa"
"""Under this name the method's winner is trained once more, on seeds of its own: the A/A arm."""
BEFORE_TRAINING = (UNTRAINED, FROZEN)
"""An encoder as it is built and the arms' last stage: with random weights, or with published ones."""


@dataclass(frozen=True)
class Arm:
    """One arm of a study, as plain data that travels to the workers inside every job.

    Attributes:
        name: in tables, tags, folders and commands; unique in the study.
        loss: a named loss of ``sdl_study.losses``, or ``module:Class`` (``folder/file.py:Class``) of a weight rule or
            a whole loss of one's own.
        fixed: settings of the loss that this arm does not search, for example ``{"dissimilarity_power": 0.0}``.
        pretraining: ``contrastive`` trains encoder and projection head; ``supervised`` trains encoder and a linear
            head that is then thrown away, for as many examples; ``joint`` trains both heads, and follows from the next.
        joint: a classification loss of ``sdl_study.losses`` to which ``train.joint_weight`` times ``loss``, which is a
            contrastive one, is added: ``bce`` or ``asl``. None trains with ``loss`` alone.

    Raises:
        UserError: a name that is no name of a folder, or that a control has.
    """

    name: str
    loss: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Pretraining = "contrastive"
    joint: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise UserError(
                f"arm {self.name!r}: a name is a word of letters, digits, '.', '_' and '-', 64 at most"
            )
        if self.name in CONTROLS:
            raise UserError(f"arm {self.name!r}: a control has this name; choose another")
        if not isinstance(self.loss, str) or not self.loss:
            raise UserError(f"arm {self.name}: loss is {self.loss!r}; name one, or write module:Class")
        if not isinstance(self.fixed, Mapping):
            raise UserError(f"arm {self.name}: fixed is {self.fixed!r}; write {{'setting': value}}")
        try:
            object.__setattr__(self, "fixed", plain_values(self.fixed))
        except (TypeError, ValueError) as error:
            raise UserError(f"arm {self.name}: fixed: {error}") from None
        self._check_pretraining()

    def _check_pretraining(self) -> None:
        if self.pretraining not in ("contrastive", "supervised", "joint"):
            raise UserError(
                f"arm {self.name}: pretraining is {self.pretraining!r}; choose contrastive or supervised, or name a "
                "classification loss with joint"
            )
        if self.joint is None:
            if self.pretraining == "joint":
                raise UserError(
                    f"arm {self.name}: pretraining is joint; name its classification loss with joint='bce'"
                )
            return
        if self.joint not in ("bce", "asl"):
            raise UserError(f"arm {self.name}: joint is {self.joint!r}; choose bce or asl")
        if self.pretraining == "supervised":
            raise UserError(f"arm {self.name}: joint goes with a contrastive loss; leave pretraining out")
        object.__setattr__(self, "pretraining", "joint")

    @property
    def contrasts(self) -> bool:
        """Whether its loss, or a part of it, compares the rows of a batch."""
        return self.pretraining != "supervised"

    def to_dict(self) -> dict[str, Any]:
        """The arm as plain data; ``Arm(**values)`` is the inverse."""
        return asdict(self)

    def loss_settings(self, given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
        """What its loss is built with: of the given settings those that the loss knows, and over them its fixed ones.

        Args:
            given: ``loss`` of a study's or trial's settings.
            known: names of the settings that the loss has.
        """
        return merged({name: value for name, value in given.items() if name in known}, self.fixed)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with others laid over them."""
    found = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if both else value
    return found


def plain_values(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Settings of a loss as they travel and as they are kept: numbers, words, lists and mappings of them.

    Args:
        values: the settings.
        where: stands before a setting's name in an error.

    Raises:
        TypeError: a value of another kind.
        ValueError: a number that is not finite.
    """
    return {str(name): _plain(value, f"{where}{name}") for name, value in values.items()}


def _plain(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value}; it must be a finite number")
        return value
    if isinstance(value, Mapping):
        return plain_values(value, f"{path}.")
    if isinstance(value, list | tuple):
        return [_plain(item, path) for item in value]
    if type(value).__module__ == "numpy":
        return _plain(value.tolist(), path)
    if is_dataclass(value) and not isinstance(value, type):
        return plain_values(asdict(value), f"{path}.")
    raise TypeError(f"{path} is of type {type(value).__name__}; write numbers, words, lists and mappings")


BCE = Arm("bce", "bce", pretraining="supervised")
ASL = Arm("asl", "asl", pretraining="supervised")
ANY = Arm("any", "any")
ALL = Arm("all", "all")
MULSUPCON = Arm("mulsupcon", "mulsupcon")
JACCARD = Arm("jaccard", "jaccard")
SD = Arm("sd", "sd")
SD_WEIGHTED = Arm("sd_weighted", "sd")
MULTISUPCON = Arm("multisupcon", "multisupcon")
RANDOM_WEIGHTS = Arm("random_weights", "random_weights")
SD_JOINT = Arm("sd_joint", "sd", joint="bce")
ANY_JOINT = Arm("any_joint", "any", joint="bce")
