"""A plan: a study with its overrides, checked whole before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl_study.config import Settings, value_at, with_values
from sdl_study.errors import UserError
from sdl_study.space import ParameterValue, SearchSpace, Study
from sdl_study.study.checks import (
    check_conditions,
    check_encoders,
    check_name,
    check_output,
    check_space,
    check_workers,
)
from sdl_study.study.files import StudyFiles

FORMAT_VERSION = 2

# What may change on resume: where and with how many processes it runs, and how much more is spent.
FREE = {
    "data.path", "train.workers", "train.trials_per_group", "train.record_batches",
    "budget.trials", "budget.max_attempts",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A study as it will run.

    Attributes:
        name: name of the study, its folder and its MLflow experiment.
        space: the search space without the parameters that ``--set`` fixed.
        settings: the study's settings with the overrides.
        files: where everything of the study lies.
    """

    name: str
    space: SearchSpace
    settings: Settings
    files: StudyFiles

    def fixed(self) -> dict[str, Any]:
        """Settings on which a condition of the space may depend, by dotted path."""
        searched = {parameter.name for parameter in self.space.parameters}
        asked = {name for parameter in self.space.parameters for name, _ in parameter.when} - searched
        return {name: value_at(self.settings, name) for name in asked}

    def with_parameters(self, parameters: Mapping[str, ParameterValue]) -> Settings:
        """The settings of one trial."""
        return with_values(self.settings, parameters, self.name)

    def identity(self) -> dict[str, Any]:
        """What study.json says about the study, and what is compared on resume."""
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "space": self.space.fingerprint(),
            "settings": self.settings.model_dump(mode="json"),
        }


def make_plan(
    study: Study, out: Path, name: str | None, overrides: Mapping[str, Any], joins_cluster: bool = False
) -> Plan:
    """Lay the overrides over a study and check everything that can be checked without its data.

    Args:
        study: what the module of search_spaces exports.
        out: folder of studies.
        name: another name than the study's own.
        overrides: settings by dotted path.
        joins_cluster: whether the study joins a running cluster, whose CPUs are counted when it does.

    Raises:
        UserError: a mistake in the study, the overrides, the output folder or the workers.
    """
    name = study.name if name is None else name
    check_name(name)
    settings = with_values(study.settings, overrides, "--set") if overrides else study.settings
    plan = Plan(name, study.space.without(overrides), settings, StudyFiles(out.resolve(), name))
    check_encoders(settings, name)
    check_conditions(study.space, study.settings, name)
    check_space(plan.space, settings, name)
    check_output(plan.files)
    check_workers(settings, joins_cluster)
    return plan


def check_resume(plan: Plan, data_fingerprint: str) -> None:
    """Refuse to go on with a study whose meaning was changed.

    Raises:
        UserError: one line per field that differs, and the proposal of another name.
    """
    path = plan.files.study_json
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: damaged: not JSON; move the folder away to start again") from None
    if before.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: format_version {before.get('format_version')!r}, this version reads {FORMAT_VERSION}"
        )
    now = plan.identity()
    changed = [
        f"{field}: {old!r} → {new!r}"
        for field, old, new in _differences(before["settings"], now["settings"], "")
    ]
    if before["space"] != now["space"]:
        changed.append("search space: another set of parameters, ranges or published points")
    if before["data_fingerprint"] != data_fingerprint:
        changed.append("data: the prepared data set has another content")
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise UserError(
            f"{plan.files.folder} holds another study of this name; these fields differ:\n{lines}\n"
            f"  start it under another name: --name {plan.name}_2"
        )


def _differences(before: Any, now: Any, path: str) -> list[tuple[str, Any, Any]]:
    if path in FREE or (not path and not isinstance(now, dict)):
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            found += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if before == now else [(path, before, now)]
