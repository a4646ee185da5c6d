"""A session: the studies of one command, one after another, on one engine and with one way to end."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec
from sdl_study.errors import UserError
from sdl_study.own_modules import load_pipeline
from sdl_study.record.answer import Answer
from sdl_study.references import anchored
from sdl_study.study.checks import check_data_fits, check_encoders_fit
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import RUN_JOB
from sdl_study.study.plan import Plan, check_resume
from sdl_study.study.tracking_server import check_reachable
from sdl_study.workers.engine import Engine


def execute(
    plans: Sequence[Plan], address: str | None, tracking_uri: str | None, record_artifacts: bool = False
) -> list[Answer]:
    """Run checked plans one after another; the engine is started when a plan first needs it.

    Raises:
        UserError: the tracking server or the data of one of the studies is not there; before the first starts.
    """
    with _terminated_as_interrupted(), ExitStack() as stack:
        if tracking_uri is not None:
            check_reachable(tracking_uri)
        data = load_data(plans)
        engines = _Engines(stack, address)
        return [_run_study(plan, data[plan.name], engines, tracking_uri, record_artifacts) for plan in plans]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A batch system's SIGTERM ends a study as Ctrl-C does: in order, to go on later."""
    before = signal.getsignal(signal.SIGTERM)
    _interrupt_on_termination()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt_on_termination() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class _Engines:
    """The engine, started when a study first needs it and kept for the ones after it with the same groups."""

    def __init__(self, stack: ExitStack, address: str | None) -> None:
        self._stack, self._address = stack, address
        self._running: dict[tuple[Any, ...], Engine] = {}

    def for_plan(self, plan: Plan) -> Engine:
        train, attempts = plan.settings.train, plan.settings.budget.max_attempts
        key = (train.workers, train.trials_per_group, attempts)
        if key not in self._running:
            self._stack.close()
            self._running.clear()
            folder = plan.files.engine
            folder.mkdir(parents=True, exist_ok=True)
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            engine = Engine(train.workers, train.trials_per_group, attempts, folder, self._address, RUN_JOB)
            self._running[key] = self._stack.enter_context(engine)
            _interrupt_on_termination()  # Ray has put a handler of its own there that aborts
        return self._running[key]


def _run_study(
    plan: Plan, data: PreparedData, engines: _Engines, tracking_uri: str | None, record_artifacts: bool
) -> Answer:
    with Driver(plan, data, tracking_uri, record_artifacts) as driver:
        return driver.run(lambda: engines.for_plan(plan))


def load_data(plans: Sequence[Plan]) -> dict[str, PreparedData]:
    """The prepared data of every study, by its name; first those that lie ready, then what pipelines make.

    Raises:
        UserError: a data set is missing, damaged, or not the one that a study began with.
    """
    found: dict[str, PreparedData] = {}
    for plan in sorted(plans, key=lambda plan: plan.settings.data.pipeline is not None):
        path = prepare_data(plan)
        try:
            data = PreparedData.load(path)
        except OSError as error:
            raise UserError(f"{plan.name}: data.path {path}: cannot be read ({error.strerror})") from None
        data.rows("train")  # reads the table of examples, so that damage is found now
        check_data_fits(plan.settings, data, plan.name, plan.module)
        check_resume(plan, data.manifest.fingerprint)
        if (
            not plan.files.study_json.exists()
        ):  # one that has begun is checked against its store, if work is left
            spec = expected_spec(data, plan.settings.data.store)
            check_encoders_fit(plan.space, plan.settings, spec, plan.name, plan.module)
        found[plan.name] = data
    return found


def prepare_data(plan: Plan) -> Path:
    """The folder of the study's prepared data set, made by its pipeline where one is named."""
    settings = plan.settings.data
    if settings.pipeline is None:
        if not settings.path:
            raise UserError(f"{plan.name}: data.path is required: the folder that a pipeline prepared")
        return Path(settings.path).resolve()  # workers may run elsewhere
    pipeline = load_pipeline(anchored(settings.pipeline, plan.module))
    return pipeline.prepare(settings.name or plan.name, plan.files.data)
