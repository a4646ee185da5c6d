"""The plan of a study as its folder has it: what a trial or final is run again from, without the study's module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdl_study.arms import Arm
from sdl_study.config import build_settings
from sdl_study.errors import UserError
from sdl_study.own_modules import ROOT
from sdl_study.record.reading import StudyRecord
from sdl_study.space import SearchSpace
from sdl_study.study.losses import losses_of
from sdl_study.study.plan import Plan, anchored_arms


def recorded_plan(record: StudyRecord) -> Plan:
    """Settings, arms and losses of study.json; nothing is searched any more, so it has no search space.

    Raises:
        UserError: the study has code of the user's own, and that is not where the command was started.
    """
    identity, name = record.identity, record.files.name
    module = _module(record)
    settings = build_settings(identity["settings"], str(record.files.study_json))
    arms = tuple(Arm(**arm) for arm in identity["arms"])
    losses = losses_of(anchored_arms(arms, module), name)
    return Plan(name, arms, identity["method"], SearchSpace(()), settings, record.files, losses, module)


def changed_code(plan: Plan, record: StudyRecord) -> list[str]:
    """What of the user's own code is another one than when the study began."""
    before: Mapping[str, Any] = record.identity.get("own_code", {})
    now = plan.own_code()
    return [name for name in before if now.get(name) != before[name]]


def _module(record: StudyRecord) -> Path | None:
    """The study's own file; only code of the user's own is looked for beside it."""
    if not record.identity.get("own_code") or not record.environments:
        return None
    last = record.environments[-1]
    name = str(last.get("base", last["study"]))  # of a study over another one, encoders stand beside that
    found = Path(name).resolve() if name.startswith("./") else ROOT / "search_spaces" / f"{name}.py"
    if not found.is_file():
        raise UserError(
            f"{record.files.name}: losses or encoders of its own stand in or beside {found.name}, which is not here; "
            "start this in the folder of that file"
        )
    return found
