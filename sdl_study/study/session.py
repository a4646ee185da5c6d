"""A session: the studies of one command, one after another, on one engine and with one way to end."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec
from sdl_study.ending import MachineFailure, tell
from sdl_study.errors import UserError
from sdl_study.own_modules import load_pipeline
from sdl_study.record.answer import Answer
from sdl_study.references import anchored
from sdl_study.study.checks import check_augment, check_data_fits, check_gpu_hours
from sdl_study.study.driver import Driver
from sdl_study.study.forecast.workers import fewest_gpus
from sdl_study.study.jobs import RUN_JOB
from sdl_study.study.machines import check_machines
from sdl_study.study.plan import Plan, check_resume
from sdl_study.study.progress import Lines
from sdl_study.study.readings import candidates, check_encoders_fit, check_readings
from sdl_study.study.session_storage import Storages
from sdl_study.study.showing import check_register
from sdl_study.study.signals import Interruptions
from sdl_study.study.tracking_server import check_tracking
from sdl_study.study.warm_start import with_warm_start
from sdl_study.workers.engine import Engine
from sdl_study.workers.failures import is_full_disk
from sdl_study.workers.places import Cluster
from sdl_study.workers.ray_session import GOES_ON, is_own
from sdl_study.workers.session_folder import session_root

_NOTICED_SECONDS = 2.0


def execute(
    plans: Sequence[Plan],
    address: str | None,
    tracking_uri: str | None,
    record_artifacts: bool = False,
    register: str | None = None,
) -> list[Answer]:
    """Run checked plans one after another; the engine is started when a plan first needs it.

    Args:
        plans: the studies.
        address: of a Ray cluster to join.
        tracking_uri: MLflow server; None means the database beside the studies.
        record_artifacts: let predictions and weights of restricted data into MLflow.
        register: name under which winners will go into the model registry.

    Raises:
        UserError: the tracking server or the data of one of the studies is not there; before the first starts.
        MachineFailure: Ray does not start, or went away.
    """
    signals = Interruptions()
    with signals.in_order(), ExitStack() as at_last, ExitStack() as stack:
        engines = _Engines(stack, address, signals, plans[0].files.out)
        storages = Storages(at_last, signals)
        try:
            check_places(plans, address, tracking_uri)
            plans = [
                with_warm_start(storages.opened(plan), None) for plan in plans
            ]  # of those that were fetched
            data = load_data(plans)
            if register is not None:
                check_register(register, {name: found.manifest.terms for name, found in data.items()})
            return [
                _run_study(plan, data[plan.name], engines, storages, tracking_uri, record_artifacts)
                for plan in plans
            ]
        except (Exception, KeyboardInterrupt) as error:
            ending = storages.ending(engines.ending(error))
            tell(ending)  # before Ray is left, which a busy machine may not survive
            if ending is error:
                raise
            raise ending from None


def check_places(plans: Sequence[Plan], address: str | None, tracking_uri: str | None) -> None:
    """What the studies of one command write to is there, before the first of them writes anything.

    Raises:
        UserError: Ray's files have no place here, or the tracking server or database cannot be used.
    """
    if is_own(address):
        session_root()
    for uri in {plan.files.mlflow_uri for plan in plans} if tracking_uri is None else {tracking_uri}:
        check_tracking(uri)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # another command's files are in it
        folder.rmdir()


class _Engines:
    """The engine, started when a study first needs it and kept for the ones after it with the same groups."""

    def __init__(self, stack: ExitStack, address: str | None, signals: Interruptions, out: Path) -> None:
        self._stack, self._address, self._signals, self._out = stack, address, signals, out
        self._running: dict[tuple[Any, ...], Engine] = {}
        self._fit_for: set[str] = set()

    def for_plan(self, plan: Plan, data: PreparedData) -> Engine:
        train, attempts = plan.settings.train, plan.settings.budget.max_attempts
        fewest = partial(fewest_gpus, plan, data)
        key = (train.trials_per_group, train.trials_per_gpu, train.spread, attempts)
        if key not in self._running or not self._running[key].suits(train.workers, fewest):
            self._stack.close()
            self._running.clear()
            engine = Engine(
                train.workers, fewest, train.trials_per_group, attempts, self._folder(plan.files.engine),
                self._address, RUN_JOB, on_lost=self._signals.interrupt, say=Lines("workers").say,
                trials_per_gpu=train.trials_per_gpu, spread=train.spread,
            )  # fmt: skip
            self._running[key] = self._stack.enter_context(engine)
        if not is_own(self._address) and plan.name not in self._fit_for:
            check_machines(plan.name, plan.files.out, data.path, plan.settings.storage)
            self._fit_for.add(plan.name)
        return self._running[key]

    def before(self, plan: Plan, data: PreparedData) -> None:
        """A study that is to begin has its workers, before anything of it is written.

        Raises:
            UserError: the groups do not fit the machine, or within a time the cluster.
        """
        if not is_own(self._address):
            check_gpu_hours(plan.settings.budget, plan.name, self.for_plan(plan, data).gpus_of_trial > 0)
            return
        check_gpu_hours(plan.settings.budget, plan.name, torch.cuda.is_available())
        if torch.cuda.is_available():
            train = plan.settings.train
            Cluster.here().places(train.workers, partial(fewest_gpus, plan, data), train.trials_per_gpu)

    def _folder(self, parent: Path) -> Path:
        """A folder of this command's own, for others may run in the same folder of studies; gone at its end, with what
        commands that were killed on this machine have left."""
        here = socket.gethostname()
        for left in parent.glob(f"{here}-*"):
            number = left.name.removeprefix(f"{here}-")
            if number.isdecimal() and not psutil.pid_exists(int(number)):
                shutil.rmtree(left, ignore_errors=True)
        folder = parent / f"{here}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._stack.callback(_remove_if_empty, parent)
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def ending(self, error: BaseException) -> BaseException:
        """What really ended the command: Ray's going away shows as an interruption, or as an error of any kind."""
        if self._signals.by_signal:
            return error
        unclear = isinstance(error, Exception) and not isinstance(error, UserError | MachineFailure)
        if unclear and is_full_disk(error):
            return MachineFailure(f"the disk of {self._out} is full; {GOES_ON}")
        for engine in self._running.values():
            if went_away := engine.went_away(_NOTICED_SECONDS if unclear else 0.0):
                return went_away
        return error


def _run_study(
    plan: Plan,
    data: PreparedData,
    engines: _Engines,
    storages: Storages,
    tracking_uri: str | None,
    record_artifacts: bool,
) -> Answer:
    if not plan.files.study_json.exists():
        engines.before(plan, data)
    storage = storages.start(plan, data)
    with Driver(plan, data, tracking_uri, record_artifacts, storage) as driver:
        answer = driver.run(lambda: engines.for_plan(plan, data))
    storages.finish(plan)
    return answer


def load_data(plans: Sequence[Plan]) -> dict[str, PreparedData]:
    """The prepared data of every study, by its name; first those that lie ready, then what pipelines make.

    Raises:
        UserError: a data set is missing, damaged, or not the one that a study began with.
    """
    loaded: dict[str, PreparedData] = {}
    for plan in sorted(plans, key=lambda plan: plan.settings.data.pipeline is not None):
        path = prepare_data(plan)
        try:
            data = PreparedData.load(path)
        except OSError as error:
            raise UserError(f"{plan.name}: data.path {path}: cannot be read ({error.strerror})") from None
        data.rows("train")  # reads the table of examples, so that damage is found now
        check_data_fits(plan.settings, data, plan.name, plan.module)
        check_resume(plan, data.manifest.fingerprint)
        # A study that has begun is checked against its stores, if work is left.
        if not plan.files.study_json.exists():
            check_augment(plan.space, plan.settings, data.manifest.modality, plan.name)
            found = candidates(plan.space, plan.settings, plan.name, plan.module)
            check_readings(found, data.manifest.modality, plan.settings.data.store, plan.name)
            check_encoders_fit(found, partial(expected_spec, data), plan.name)
        loaded[plan.name] = data
    return loaded


def prepare_data(plan: Plan) -> Path:
    """The folder of the study's prepared data set, made by its pipeline where one is named."""
    if plan.data is not None:
        return plan.data
    settings = plan.settings.data
    if settings.pipeline is None:
        if not settings.path:
            raise UserError(f"{plan.name}: data.path is required: the folder that a pipeline prepared")
        return Path(settings.path).resolve()  # workers may run elsewhere
    pipeline = load_pipeline(anchored(settings.pipeline, plan.module))
    return pipeline.prepare(settings.name or plan.name, plan.files.data)
