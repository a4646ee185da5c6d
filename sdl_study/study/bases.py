"""Studies made over another one: its space, settings, data, encoders and budget, with other arms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import json_to_distribution

from sdl_study.arms import Arm
from sdl_study.config import build_settings
from sdl_study.errors import UserError
from sdl_study.own_modules import OwnStudy, load_study, study_names
from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.identity import read_identity
from sdl_study.references import is_file
from sdl_study.setting_paths import with_values
from sdl_study.space import Parameter, ParameterValue, SearchSpace, Study
from sdl_study.study.losses import PREFIX, losses_of

FEWEST_SEEDS = 3
"""Final seeds of a study over another one, at least: with one there is no interval."""


def find_base(reference: str, out: Path) -> OwnStudy:
    """The study that ``--base`` names: a name in search_spaces, a file or module, or the folder of a finished one.

    A finished one is read from its record. Its method's winner gives the first trial of every arm its encoder, rates
    and batch; all of them, and the temperature, are searched as they were there.

    Args:
        reference: as given.
        out: folder of studies, where a name that search_spaces has not is looked for.

    Raises:
        UserError: there is no such study, or its record is damaged, has no winner yet, or names files beside its
            module.
    """
    by_name = reference not in study_names() and (out / reference / "study.json").is_file()
    folder = out / reference if by_name else Path(reference)
    try:
        if (folder / "study.json").is_file():
            return _of_record(folder.resolve(), reference)
        if folder.is_dir() and reference not in study_names():
            raise UserError(f"{reference} holds no study (no study.json)")
        return load_study(reference)
    except UserError as error:
        raise UserError(f"--base: {error}") from None


def _of_record(folder: Path, reference: str) -> OwnStudy:
    files = StudyFiles(folder.parent, folder.name)
    found = read_identity(files.study_json)
    settings = build_settings(found["settings"], str(files.study_json))
    own = [name for name, chosen in settings.model.encoders.items() if is_file(chosen["kind"])]
    if own:
        raise UserError(
            f"{reference}: encoder {own[0]} is a file beside the study's module; name that module"
        )
    declaration = read_declaration(files)
    if declaration is None:
        raise UserError(f"{reference}: this study has no winner yet; let it end, or name its module")
    winner = declaration.winner(declaration.reference_arm).parameters
    study = Study(
        space=_space_of(found["space"], winner),
        settings=settings,
        arms=tuple(Arm(**arm) for arm in found["arms"]),
        method=found["method"],
        about=f"{files.name}, as its record has it.",
    )
    told = f".../{folder.name}" if Path(reference).is_absolute() else reference
    return OwnStudy(files.name, study, None, told)


def _space_of(described: Mapping[str, Any], winner: Mapping[str, ParameterValue]) -> SearchSpace:
    """A space as study.json has it; what a winner has of the settings that are no loss's is its published point."""
    parameters = tuple(
        Parameter(
            name,
            json_to_distribution(json.dumps(found["distribution"])),
            tuple((other, tuple(allowed)) for other, allowed in found["when"]),
            None if found["arms"] is None else tuple(found["arms"]),
        )
        for name in described["order"]
        for found in (described["parameters"][name],)
    )
    start = {name: value for name, value in winner.items() if not name.startswith(PREFIX)}
    return SearchSpace(parameters, {**described["published"], **start})


def over(base: Study, arms: tuple[Arm, ...], **changes: Any) -> Study:
    """A study with the space, settings, data, encoders and budget of another one, and arms of its own.

    A parameter that the base gives to single arms stays with those that are the same here; one of all arms is searched
    by all that have such a setting. There are three final seeds at least.

    Args:
        base: the other study.
        arms: those that run.
        changes: more of the new study (``method``, ``about``, ``ablates``, ``aa``).
    """
    losses = losses_of(arms, "arms")
    same = {arm.name for arm in arms if arm in base.arms}
    every = {p.name for p in base.space.parameters if _was_shared(p, base)}
    kept = tuple(
        replace(p, arms=None if p.name in every else tuple(arm for arm in p.arms or () if arm in same))
        for p in base.space.parameters
        if (
            any(loss.takes(p.name) for loss in losses.values())
            if p.name in every
            else same & set(p.arms or ())
        )
    )
    names, space = {p.name for p in kept}, base.space
    settings, seeds = base.settings, base.settings.budget.final_seeds
    if seeds != "auto" and seeds < FEWEST_SEEDS:
        settings = with_values(settings, {"budget.final_seeds": FEWEST_SEEDS}, "--base")
    return Study(
        space=SearchSpace(
            kept,
            _of_names(space.published, names),
            {arm: _of_names(point, names) for arm, point in space.published_of_arm.items() if arm in same},
            {arm: origin for arm, origin in space.origins.items() if arm in same},
        ),
        settings=settings,
        arms=arms,
        expects=base.expects,
        **changes,
    )


def _was_shared(parameter: Parameter, base: Study) -> bool:
    """Whether all arms of a study search a parameter, of those whose loss has such a setting.

    A record names the arms of every parameter; those with a loss of the catalogue tell whether they were all.
    """
    if parameter.arms is None:
        return True
    known = tuple(arm for arm in base.arms if ":" not in arm.loss)
    having = {name for name, loss in losses_of(known, "base").items() if loss.takes(parameter.name)}
    return having <= set(parameter.arms)


def _of_names(point: Mapping[str, ParameterValue], names: set[str]) -> dict[str, ParameterValue]:
    return {name: value for name, value in point.items() if name in names}
