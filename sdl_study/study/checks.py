"""What is checked of a study before anything is written: encoders, search space, folder and workers."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sdl_study.budget import BudgetSettings
from sdl_study.config import SEARCHABLE, Settings
from sdl_study.data.prepared import Modality, PreparedData
from sdl_study.data.stores import check_store_settings
from sdl_study.errors import UserError
from sdl_study.evaluation.objective import counted_labels
from sdl_study.files import check_local
from sdl_study.locks import take_lock
from sdl_study.models import parse_encoder_settings
from sdl_study.record.files import StudyFiles
from sdl_study.record.trials import LENGTH
from sdl_study.setting_paths import value_at, with_values
from sdl_study.space import Parameter, ParameterValue, SearchSpace
from sdl_study.stages import FINETUNE
from sdl_study.storage.place import check_url
from sdl_study.study.located import encoder_of
from sdl_study.study.losses import PREFIX, ArmLoss
from sdl_study.study.own_rates import check_rates

LONGEST_NAME = 100  # MLflow and file systems take 255 with what is added to it
LONGEST_PATH = 1000  # a path may have 4,095 bytes, and trials write below this one
_SECTIONS = tuple(name for name in SEARCHABLE if name.endswith("."))
SHARED = ("data", "mlartifacts")  # what StudyFiles keeps in --out for all studies


def check_data_fits(settings: Settings, data: PreparedData, origin: str, module: Path | None = None) -> None:
    """The encoders and the store read what the data hold, and there are labels to learn and to measure by.

    Raises:
        UserError: one line.
    """
    for split in ("train", "dev"):
        if not data.manifest.counts[split].labels_present:
            raise UserError(
                f"{data.path}: no {split} example has a label; a study needs some in train and dev"
            )
    holds = data.manifest.modality
    for name, chosen in settings.model.encoders.items():
        reads = parse_encoder_settings(*encoder_of(chosen, module)).modalities
        if holds not in reads:
            raise UserError(
                f"{origin}: encoder {name} reads {' or '.join(reads)}, {data.path} holds {holds}; "
                "choose another study or other data"
            )
    check_store_settings(holds, settings.data.store)
    if FINETUNE in settings.stages and settings.finetune.head == "label_attention" and holds != "text":
        raise UserError(
            f"{origin}: finetune.head: label_attention reads the tokens of texts, {data.path} holds {holds}; set it to "
            "linear"
        )


def objective_labels(settings: Settings, data: PreparedData) -> int | None:
    """How many of dev's labels count in an objective that may leave some out; None where it is the metric itself."""
    if settings.objective_key == settings.objective:
        return None
    positives = data.labels("dev").counts()
    return int(
        np.count_nonzero(counted_labels(positives, settings.objective_min_positives) & (positives > 0))
    )


def check_encoders(settings: Settings, origin: str, module: Path | None = None) -> None:
    """Every encoder to choose from has a known kind, settings of that kind, and what training can take."""
    for name, chosen in settings.model.encoders.items():
        try:
            parse_encoder_settings(*encoder_of(chosen, module))
        except UserError as error:
            raise UserError(f"{origin}: model.encoders.{name}: {error}") from None
    check_rates(settings, origin)


def check_augment(space: SearchSpace, settings: Settings, modality: Modality, origin: str) -> None:
    """Only images are augmented.

    Raises:
        UserError: one line.
    """
    if modality != "image" and set(possible_values(space, settings, "train.augment")) != {"none"}:
        raise UserError(
            f"{origin}: train.augment: only images are augmented, the data set holds {modality}; set it to none"
        )


def check_space(
    space: SearchSpace,
    settings: Settings,
    losses: Mapping[str, ArmLoss],
    origin: str,
    module: Path | None = None,
) -> None:
    """Every value that the space can give is a valid setting, and every arm that searches it can use it."""
    if settings.train.min_steps and space.searches("train.batch_size"):
        raise UserError(
            f"{origin}: train.min_steps: the batch is searched, and arms are compared at equal examples seen; give "
            "train.min_examples"
        )
    if (settings.train.min_examples or settings.train.min_steps) and space.searches(LENGTH):
        raise UserError(
            f"{origin}: train.min_examples, train.min_steps: the length is searched; leave them out, or {LENGTH}"
        )
    for parameter in space.parameters:
        if not parameter.name.startswith(_SECTIONS) and parameter.name not in SEARCHABLE:
            raise UserError(
                f"{origin}: search space: {parameter.name}: belongs to the study as a whole and cannot be "
                f"searched; what can is {', '.join(name.rstrip('.') for name in SEARCHABLE)}"
            )
        for value in extremes(parameter.distribution):
            checked = with_values(settings, {parameter.name: value}, f"{origin}: search space")
            if not parameter.name.startswith(PREFIX):
                check_encoders(checked, origin, module)
                continue
            for arm in parameter.arms or ():
                losses[arm].check(checked.loss, f"{origin}: search space: {parameter.name}: arm {arm}")


def check_conditions(
    space: SearchSpace, settings: Settings, losses: Mapping[str, ArmLoss], origin: str
) -> None:
    """Every condition of the space names a parameter before it, or a setting, and values that can occur.

    A condition that never holds would leave its parameter unsearched without a word.
    """
    for place, parameter in enumerate(space.parameters):
        before = {earlier.name: earlier for earlier in space.parameters[:place]}
        later = {other.name for other in space.parameters[place:]}
        for name, allowed in parameter.when:
            where = f"{origin}: search space: {parameter.name}: when {name!r}"
            if not allowed:
                raise UserError(f"{where}: names no value")
            if name in later:
                raise UserError(f"{where}: this parameter must stand before it in the space")
            if name in before:
                _check_searched(before[name], parameter, allowed, losses, where)
            elif name.startswith(PREFIX):
                _check_fixed_loss(name, allowed, settings, parameter, losses, where)
            else:
                _check_fixed(name, allowed, settings, where)


def _check_searched(
    asked: Parameter,
    parameter: Parameter,
    allowed: Iterable[ParameterValue],
    arms: Iterable[str],
    where: str,
) -> None:
    for value in allowed:
        if not asked.can_be(value):
            raise UserError(f"{where}: {value!r} cannot occur; it is searched in {asked.distribution}")
    for arm in arms:
        if parameter.in_arm(arm) and not asked.in_arm(arm):
            raise UserError(f"{where}: arm {arm} does not search it; give both the same arms")


def _check_fixed_loss(
    name: str,
    allowed: Iterable[ParameterValue],
    settings: Settings,
    parameter: Parameter,
    losses: Mapping[str, ArmLoss],
    where: str,
) -> None:
    asked = [loss for arm, loss in losses.items() if parameter.in_arm(arm) and loss.has(name)]
    if not asked:
        raise UserError(
            f"{where}: neither a parameter of the space nor a setting of the losses of these arms"
        )
    if all(loss.value(name, settings.loss) is None for loss in asked):
        raise UserError(
            f"{where}: no arm gives it a value; give it one, by loss of the settings or by fixed of an arm"
        )
    for value in allowed:
        for loss in asked:
            loss.check(with_values(settings, {name: value}, where).loss, where)


def _check_fixed(name: str, allowed: Iterable[ParameterValue], settings: Settings, where: str) -> None:
    try:
        value_at(settings, name)
    except UserError:
        raise UserError(f"{where}: neither a parameter of the space nor a setting of the study") from None
    for value in allowed:
        if value_at(with_values(settings, {name: value}, where), name) != value:
            raise UserError(f"{where}: {value!r} cannot occur; the setting would read it as another value")


def searched_values(space: SearchSpace, name: str) -> tuple[Any, ...]:
    """The ends of what is searched under a name, of all its ranges, or its choices; nothing where it is fixed."""
    return tuple(v for p in space.parameters if p.name == name for v in extremes(p.distribution))


def possible_values(space: SearchSpace, settings: Settings, name: str) -> tuple[Any, ...]:
    """As ``searched_values``; what is fixed where it is not searched."""
    return searched_values(space, name) or (value_at(settings, name),)


def extremes(distribution: Any) -> tuple[Any, ...]:
    """The ends of a range, or all choices."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return (distribution.low, distribution.high)
    raise UserError(f"search space: distributions of type {type(distribution).__name__} are not known")


def check_name(name: str, origin: str = "--name") -> None:
    """A study's name is a folder's name in --out, and none of those that the studies there share."""
    other = "" if origin == "--name" else "; give another with --name"
    if not name:
        raise UserError(f"{origin}: is empty; leave it out for the study's own name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{origin} {name}: use letters, digits, '.', '_' and '-' only{other}")
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"{origin} {name[:20]}...: has {len(name)} characters; use at most {LONGEST_NAME}{other}"
        )
    if name.lower() in SHARED or name.lower().startswith("mlflow.db"):
        raise UserError(f"{origin} {name}: --out keeps something else under this name; choose another{other}")


def check_addresses(settings: Settings) -> None:
    """The storage is one that is known, and the data lie on this machine.

    Raises:
        UserError: one line.
    """
    if settings.storage is not None:
        check_url(settings.storage)
    if settings.data.path is not None:
        check_local(settings.data.path, "data.path")


def check_output(files: StudyFiles) -> None:
    """The study's folder can be made and written, and MLflow's database beside it too."""
    out = str(files.out)
    if found := re.search(r"[?%\x00-\x1f\x7f\ud800-\udfff]", out):
        raise UserError(
            f"--out {out!r}: MLflow cannot keep a database in a path with {found[0]!r}; choose another"
        )
    if (
        len(os.fsencode(files.folder)) > LONGEST_PATH
        or max(map(len, map(os.fsencode, files.out.parts))) > 255
    ):
        raise UserError(
            f"--out {out[:40]}...: is too long; use at most 255 bytes a folder, {LONGEST_PATH} in all"
        )
    existing = files.folder
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise UserError(f"--out {out}: {existing} is a file, not a folder")
        with tempfile.NamedTemporaryFile(prefix=".sdl-", dir=existing) as probe:
            take_lock(probe.file, files.out, wait=False)
    except OSError as error:
        raise UserError(f"--out {out}: cannot write in {existing} ({error.strerror})") from None


def check_workers(settings: Settings, joins_cluster: bool) -> None:
    """More workers than this machine has CPUs; a cluster is asked when it is joined."""
    workers, cpus = settings.train.workers, len(os.sched_getaffinity(0))
    if workers is not None and workers > cpus and not joins_cluster:
        raise UserError(
            f"train.workers: {workers} workers are more than the {cpus} CPUs here; ask for {cpus} or fewer"
        )
    if workers is not None and workers > settings.train.batch_size:
        raise UserError(
            f"train.workers: {workers} workers cannot share batches of {settings.train.batch_size}"
        )


def check_gpu_hours(budget: BudgetSettings, name: str, gpus: bool) -> None:
    """GPU hours can end a search whose trials run on GPUs alone.

    Raises:
        UserError: they run on CPUs.
    """
    if budget.gpu_hours is not None and not gpus:
        raise UserError(
            f"{name}: --gpu-hours (budget.gpu_hours): there is no GPU for trials here, so nothing would ever end the "
            "search; use --hours"
        )
