"""declaration.json: what a study fixes before any test label is read. Its SHA-256 names it everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from sdl_study.budget import Limit
from sdl_study.errors import UserError
from sdl_study.files import read_json, write_json
from sdl_study.record.files import StudyFiles
from sdl_study.space import ParameterValue
from sdl_study.stages import PROBE, Stage

# A declaration in which these are the same is kept when a study is extended, and its finals with it.
_PROMISES = (
    "winners", "method", "variants", "primary_contrast", "primary_metric", "primary_stage", "study_seed", "final_seeds",
    "data_fingerprint", "searches", "stages",
)  # fmt: skip
# What declarations said from the beginning is hashed whatever it is; what came later, where it says something.
_LATER_OF_WINNER = {"search": 0}
_LATER = {"searches": 1, "stages": (PROBE,), "aa": None, "ended_by": "trials"}


@dataclass(frozen=True)
class Winner:
    """The trial that stands for an arm, and its dev value (the mean over seeds where it was repeated).

    ``search`` says which of the arm's independent searches found it.
    """

    arm: str
    trial: int
    parameters: Mapping[str, ParameterValue]
    dev: float
    search: int = 0


@dataclass(frozen=True)
class Declaration:
    """What will be compared, and how.

    Attributes:
        study: its name.
        winners: one for each search of an arm: the first search's in the arms' order, then the second's, ...
        best_arm_on_dev: whose test metrics are the study's.
        method: the arm that the verdict is about.
        variants: the method, and the arms that are another setting of its loss.
        primary_contrast: the method and what it is compared with; None where a study has no such pair.
        primary_metric, primary_stage: what is compared.
        controls: names of the controls that run beside the finals.
        study_seed, final_seeds, selection_seeds, trials_per_arm, epochs: what was and will be spent; final seeds
            count per winner.
        data_fingerprint, code_version: on what, and by what.
        searches: independent searches of every arm.
        stages: the last stages in which every final ends.
        aa: the arm whose winners are trained once more, on other final seeds; what they differ by from themselves
            stands beside the verdict. It is no promise: a study that was declared without goes on without.
        ended_by: which limit ended the search: with one of time, arms may have had a trial more than
            ``trials_per_arm``.
    """

    study: str
    winners: tuple[Winner, ...]
    best_arm_on_dev: str
    method: str | None
    variants: tuple[str, ...]
    primary_contrast: tuple[str, str] | None
    primary_metric: str
    primary_stage: Stage
    controls: tuple[str, ...]
    study_seed: int
    final_seeds: int
    selection_seeds: int
    trials_per_arm: int
    epochs: int
    data_fingerprint: str
    code_version: str
    searches: int = 1
    stages: tuple[Stage, ...] = (PROBE,)
    aa: str | None = None
    ended_by: Limit = "trials"

    @property
    def sha(self) -> str:
        """SHA-256, as tagged on the parent run and written into every ledger line."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def winner(self, arm: str) -> Winner:
        """The winner of an arm; of several searches the best on dev, the earlier on a tie."""
        return max((winner for winner in self.winners if winner.arm == arm), key=lambda winner: winner.dev)

    def dev(self, arm: str) -> float:
        """What an arm reached on dev, mean over its searches."""
        return fmean(winner.dev for winner in self.winners if winner.arm == arm)

    @property
    def reference_arm(self) -> str:
        """The arm whose encoder stands, before training, among the controls."""
        has_method = any(winner.arm == self.method for winner in self.winners)
        return self.method if self.method is not None and has_method else self.best_arm_on_dev

    def promises_the_same(self, other: Declaration) -> bool:
        """Whether finals under one of them are finals under the other."""
        return all(getattr(self, name) == getattr(other, name) for name in _PROMISES)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in the file."""
        values = asdict(self)
        winners = tuple(_spoken(winner, _LATER_OF_WINNER) for winner in values["winners"])
        return _spoken({**values, "winners": winners}, _LATER)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Declaration:
        """The inverse of ``to_dict``."""
        contrast = values["primary_contrast"]
        return Declaration(
            **{
                **values,
                "winners": tuple(Winner(**winner) for winner in values["winners"]),
                "primary_contrast": None if contrast is None else (contrast[0], contrast[1]),
                "controls": tuple(values["controls"]),
                "variants": tuple(values["variants"]),
                "stages": tuple(values.get("stages", _LATER["stages"])),
            }
        )


def _spoken(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Values without those that came later and say nothing: an older declaration keeps its SHA-256."""
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def read_declaration(files: StudyFiles) -> Declaration | None:
    """The declaration in force, None before there is one.

    Raises:
        UserError: the file is damaged.
    """
    if not files.declaration.exists():
        return None
    try:
        return Declaration.from_dict(read_json(files.declaration))
    except (TypeError, KeyError, AttributeError, IndexError):
        raise UserError(
            f"{files.declaration}: damaged: not a declaration of this version; put it back from a copy, or start "
            "again under --name"
        ) from None


def keep_or_write(files: StudyFiles, declaration: Declaration) -> Declaration:
    """The declaration in force: the one that is there if it promises the same, else this one, written."""
    before = read_declaration(files)
    if before is not None and before.promises_the_same(declaration):
        return before
    if before is not None:
        write_json(files.superseded_declaration(before.sha), before.to_dict())
    write_json(files.declaration, declaration.to_dict())
    return declaration
