"""One real Ray cluster at a time, shared by the tests that need the same kind of worker group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.record.answer import Answer
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import RUN_JOB
from sdl_study.study.plan import Plan
from sdl_study.workers.engine import Engine


class Engines:
    """Keeps one engine running and replaces it when another kind, or none, is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._kind: str | int | None = None
        self._engine: Engine | None = None

    def get(self, trials_per_group: str | int = "all") -> Engine:
        """A running engine of two workers a group."""
        if self._engine is None or self._kind != trials_per_group:
            self.close()
            engine = Engine(2, lambda memory: 2, trials_per_group, 3, self._folder, None, RUN_JOB)
            self._engine = self._stack.enter_context(engine)
            self._kind = trials_per_group
        return self._engine

    def close(self) -> None:
        """End the running cluster, so that another process may start one."""
        self._stack.close()
        self._engine = None

    def run(
        self, plan: Plan, trials_per_group: str | int = "all", data: PreparedData | None = None
    ) -> Answer:
        """Run a plan on the shared engine."""
        data = PreparedData.load(str(plan.settings.data.path)) if data is None else data
        with Driver(plan, data, None) as driver:
            return driver.run(lambda: self.get(trials_per_group))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    running = Engines(tmp_path_factory.mktemp("engine"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the studies that the tests share."""
    return tmp_path_factory.mktemp("studies")
