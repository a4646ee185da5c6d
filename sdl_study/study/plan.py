"""A plan: a study with its overrides, checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdl_study.arms import AGAIN, Arm, merged
from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.identity import differences, identity, read_identity
from sdl_study.record.warm import WarmStart
from sdl_study.references import anchored, is_file
from sdl_study.setting_paths import value_at, with_values
from sdl_study.space import ParameterValue, SearchSpace, Study
from sdl_study.study.checks import (
    check_addresses,
    check_conditions,
    check_encoders,
    check_name,
    check_output,
    check_space,
    check_workers,
    extremes,
)
from sdl_study.study.learnable import check_trains
from sdl_study.study.located import encoder_of
from sdl_study.study.losses import (
    JOINT_WEIGHT,
    PREFIX,
    ArmLoss,
    check_known,
    code_digest,
    losses_of,
    own_code,
    variants,
)
from sdl_study.study.own_rates import check_one_rate, laid_over


@dataclass(frozen=True)
class Plan:
    """A study as it will run.

    Attributes:
        name: name of the study, its folder and its MLflow experiment.
        arms: what is compared.
        method: the arm that the verdict is about, if there is one.
        space: the search space without the parameters that ``--set`` fixed.
        settings: the study's settings with the overrides.
        files: where everything of the study lies.
        losses: the arms' losses, by the arm's name.
        module: the file of the study's own module; what it names beside itself is found from there.
        overrides: settings by dotted path that were given beside the module's.
        ablates, aa, published: as in ``Study``.
        over: what names the study and its base on the command line, where it was made over another one.
        data: prepared data that are used in place of those that the settings name: the same, fetched.
        warm: the first trials after the published setting, where they come from an earlier study.
    """

    name: str
    arms: tuple[Arm, ...]
    method: str | None
    space: SearchSpace
    settings: Settings
    files: StudyFiles
    losses: Mapping[str, ArmLoss]
    module: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    ablates: bool = False
    aa: bool = False
    over: tuple[str, str] | None = None
    published: tuple[str, ...] = ()
    data: Path | None = None
    warm: WarmStart | None = None

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms, in order."""
        return tuple(arm.name for arm in self.arms)

    @property
    def reference(self) -> str:
        """What names the study on the command line: a module of search_spaces, or a file of the user's own."""
        if self.over is not None:
            return self.over[0]
        if self.module is None:
            return self.name
        return self.module.stem if self.module.parent.name == "search_spaces" else f"./{self.module.name}"

    def fixed(self, arm: str) -> dict[str, Any]:
        """Settings of an arm on which a condition of the space may depend, by dotted path."""
        searched = {parameter.name for parameter in self.space.parameters}
        asked = {name for parameter in self.space.parameters for name, _ in parameter.when} - searched
        return {name: self._fixed(arm, name) for name in asked}

    def _fixed(self, arm: str, name: str) -> Any:
        if name.startswith(PREFIX):
            return self.losses[arm].value(name, self.settings.loss)
        return value_at(self.settings, name)

    def with_parameters(self, parameters: Mapping[str, ParameterValue]) -> Settings:
        """The settings of one trial, with what its encoder brings to training."""
        return laid_over(with_values(self.settings, parameters, self.name), self.name)

    def job_arm(self, name: str) -> dict[str, Any]:
        """An arm as plain data; its loss is found from anywhere."""
        return self.losses[name].arm.to_dict()

    @property
    def variants(self) -> tuple[str, ...]:
        """The arms that are the method, or another setting of its loss; in an ablation those that fix no more of it."""
        return variants(self.method, self.losses, self.ablates)

    def identity(self) -> dict[str, Any]:
        """What study.json says about the study, and what is compared on resume."""
        found = identity(self.name, self.arms, self.method, self.space, self.settings, self.own_code())
        # Of what came later, what says something: older studies have neither.
        warm = {} if self.warm is None else {"warm_start": self.warm.to_dict()}
        return found | warm | {name: True for name in ("ablates", "aa") if getattr(self, name)}

    def first_points(self, arm: str) -> list[dict[str, ParameterValue]]:
        """What an arm's first trials are asked: the published setting, then those of an earlier study."""
        warm = () if self.warm is None else self.warm.points[arm]
        return [self.space.published_point(arm, self.fixed(arm)), *(dict(point.parameters) for point in warm)]

    def own_code(self) -> dict[str, str]:
        """Digests of the user's own losses and encoder kinds: with another one under its name it is another study."""
        found = {f"loss of {arm}": digest for arm, digest in own_code(self.losses).items()}
        for name, chosen in self.settings.model.encoders.items():
            kind, _ = encoder_of(chosen, self.module)
            if is_file(kind):
                found[f"encoder {name}"] = code_digest(Path(kind).read_text(encoding="utf-8"))
        return found


def make_plan(
    study: Study,
    out: Path,
    name: str,
    overrides: Mapping[str, Any],
    joins_cluster: bool = False,
    module: Path | None = None,
    over: tuple[str, str] | None = None,
) -> Plan:
    """Lay the overrides over a study and check everything that can be checked without its data.

    Args:
        study: what its module exports.
        out: folder of studies.
        name: of the study: its module's, or the one that the user gives.
        overrides: settings by dotted path, and ``arms`` (names of those that shall run) and ``method``.
        joins_cluster: whether the study joins a running cluster, whose CPUs are counted when it does.
        module: the study's own file.
        over: as in ``Plan``.

    Raises:
        UserError: a mistake in the study, the overrides, the output folder or the workers.
    """
    check_name(name)
    values = dict(overrides)
    losses = losses_of(anchored_arms(study.arms, module), name)
    check_known(losses, study.settings.loss, name)
    check_space_arms(study.space, losses, name)
    takes = {arm: loss.takes for arm, loss in losses.items()}
    study = _with_choices(replace(study, space=study.space.of_arms(takes)), values)
    losses = {
        arm.name: replace(losses[arm.name], sample=_sample(study.space, arm.name)) for arm in study.arms
    }
    settings = with_values(study.settings, values, "--set") if values else study.settings
    plan = Plan(
        name, study.arms, study.method, study.space.without(values), settings,
        StudyFiles(out.resolve(), name), losses, module, dict(overrides), study.ablates, study.aa, over,
        study.published,
    )  # fmt: skip
    check_aa(plan)
    check_encoders(settings, name, module)
    check_one_rate(study.space, settings, values, name)
    _check_losses(losses, settings.loss, _of_losses(values), name)
    check_conditions(study.space, study.settings, losses, name)
    check_space(plan.space, settings, losses, name, module)
    check_trains(plan.space, settings, losses, name, module)
    check_addresses(settings)
    check_output(plan.files)
    check_workers(settings, joins_cluster)
    return plan


def check_aa(plan: Plan) -> None:
    """The A/A arm trains the method once more, under a name of its own.

    Raises:
        UserError: one line.
    """
    if plan.aa and (plan.method is None or AGAIN in plan.arm_names):
        why = "there is none among the arms" if plan.method is None else "an arm of the study has its name"
        raise UserError(f"{plan.name}: {AGAIN} trains the method once more, and {why}")


def _check_losses(
    losses: Mapping[str, ArmLoss], given: Mapping[str, Any], by_hand: Mapping[str, Any], name: str
) -> None:
    """Build every loss with what is given for it, and refuse what ``--set`` gives in vain."""
    check_known(losses, by_hand, "--set")
    for arm, loss in losses.items():
        loss.check(given, f"{'--set' if by_hand else name}: arm {arm}")


def _of_losses(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of losses among the overrides, nested as in ``loss``."""
    whole = values.get("loss", {})
    found = dict(whole) if isinstance(whole, Mapping) else {}
    for path, value in values.items():
        if path.startswith(PREFIX):
            found = merged(found, _nested(path, value))
    return found


def _sample(space: SearchSpace, arm: str) -> dict[str, Any]:
    """A value for every setting of its loss that an arm searches: the published one, where there is one."""
    found: dict[str, Any] = {}
    for parameter in space.of_arm(arm):
        if parameter.name.startswith(PREFIX):
            point = {**space.published, **space.published_of_arm.get(arm, {})}
            value = point.get(parameter.name, extremes(parameter.distribution)[0])
            found = merged(found, _nested(parameter.name, value))
    return found


def _nested(path: str, value: Any) -> dict[str, Any]:
    *parents, leaf = path.removeprefix(PREFIX).split(".")
    found = {leaf: value}
    for part in reversed(parents):
        found = {part: found}
    return found


def anchored_arms(arms: tuple[Arm, ...], module: Path | None) -> tuple[Arm, ...]:
    """The arms with their losses named as they are found from anywhere."""
    return tuple(replace(arm, loss=anchored(arm.loss, module)) for arm in arms)


def check_space_arms(space: SearchSpace, losses: Mapping[str, ArmLoss], origin: str) -> None:
    """Whoever searches a setting of a loss has a loss with such a setting, which it does not fix.

    Raises:
        UserError: one line.
    """
    for parameter in space.parameters:
        where = f"{origin}: search space: {parameter.name}"
        if parameter.arms is None and not any(loss.takes(parameter.name) for loss in losses.values()):
            raise UserError(f"{where}: no arm has such a setting to search")
        for arm in parameter.arms or ():
            loss = losses[arm]
            if not loss.takes(parameter.name):
                raise UserError(f"{where}: arm {arm} {_why_not(loss, parameter.name)}")


def _why_not(loss: ArmLoss, name: str) -> str:
    if name == JOINT_WEIGHT:
        return "trains with one loss alone; give it joint, or leave it out"
    return "fixes it" if loss.has(name) else f"has a loss ({loss.arm.loss}) without it"


def _with_choices(study: Study, values: dict[str, Any]) -> Study:
    """The study with the arms and the method that ``--set`` names, which are taken out of the values."""
    try:
        if "arms" in values:
            names = values.pop("arms")
            if isinstance(names, str) or not isinstance(names, (tuple, list)):
                raise UserError(f"arms: needs a list, for example \"arms=('any', 'sd')\" (given {names!r})")
            study = study.of_arms(names)
        if "method" in values:
            study = replace(study, method=values.pop("method"))
    except UserError as error:
        raise UserError(f"--set: {error}") from None
    return study


def check_resume(plan: Plan, data_fingerprint: str) -> None:
    """Refuse to go on with a study whose meaning was changed.

    Raises:
        UserError: one line per field that differs, and the proposal of another name.
    """
    if not plan.files.study_json.exists():
        return
    before = read_identity(plan.files.study_json)
    changed = differences(before, plan.identity())
    if before["data_fingerprint"] != data_fingerprint:
        changed.append("data: the prepared data set has another content")
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise UserError(
            f"{plan.files.folder} holds another study of this name; these fields differ:\n{lines}\n"
            f"  start it under another name: --name {plan.name}_2"
        )
