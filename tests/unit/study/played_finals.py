"""Finals of a study on tiny data, with random scores where the worker groups would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.metrics import OBJECTIVES
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.record.answer import Answer, make_answer
from sdl_study.record.declaration import Winner
from sdl_study.record.finals import read_finals
from sdl_study.study import finals as finals_module
from sdl_study.study.controls import controls_of
from sdl_study.study.driver import Driver
from sdl_study.study.finals import Finals
from sdl_study.study.jobs import Work
from sdl_study.study.publish import publish
from sdl_study.study.selection import declare
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Done, End
from tests.integration.tiny import tiny_plan

ARMS = ("bce", "any", "sd")
NO_ENGINE = cast(Engine, SimpleNamespace(groups=1, check=lambda name: None))
Outcome = Callable[[Work], End | None]


@contextmanager
def opened(home: Path, **overrides: Any) -> Iterator[Driver]:
    given = {"budget.final_seeds": 2, "controls": ("label_prior",), **overrides}
    plan = tiny_plan(home, given)
    with Driver(plan, PreparedData.load(str(plan.settings.data.path)), None) as made:
        for search in range(plan.settings.budget.searches):
            for arm in ARMS:
                made._ask(arm, search)
        yield made


def make_finals(driver: Driver, best_of_any: float = 0.5) -> Finals:
    dev = {"bce": 0.3, "any": best_of_any, "sd": 0.6}
    winners = [
        Winner(arm, place + 3 * search, {}, dev[arm], search)
        for search in range(driver.plan.settings.budget.searches)
        for place, arm in enumerate(ARMS)
    ]
    controls = controls_of(driver.data, driver.plan.settings.controls)
    declaration = declare(
        driver.plan, winners, driver.journal.all(), controls, driver.data.manifest.fingerprint, "1"
    )
    return Finals(driver.plan, driver.data, driver.maker, declaration, driver.progress, "1")


def trained(work: Work) -> Done:
    metrics = {f"dev/{key}": 0.5 for key in (*OBJECTIVES, "objective")} | {"dev/threshold": 0.5}
    return Done(
        {
            "metrics": metrics,
            "examples_seen": 9,
            "best_epoch": 1,
            "seconds": 1.0,
            "workers": 1,
            "device": "cpu",
        }
    )


def seed_number(work: Work) -> int:
    return int(work.job.key.rpartition("/")[2])


def play(monkeypatch: pytest.MonkeyPatch, finals: Finals, outcome: Outcome) -> None:
    """Run finals with random scores where the worker groups would be."""
    rows = finals.data.rows("test")

    def run_all(work: Sequence[Work], engine: object, told: object) -> list[Work]:
        for item in work:
            result = None if item.outcome is not None else outcome(item)
            if result is None:
                continue
            rng = np.random.default_rng([item.job.seed, len(item.job.arm["name"])])
            save_scores(item.folder / SCORES_FILE, rows, rng.random((len(rows), 6)))
            item.keep(result)
        return [item for item in work if item.outcome is None]

    monkeypatch.setattr(finals_module, "run_all", run_all)
    finals.run(NO_ENGINE)


def answer_of(driver: Driver, finals: Finals, folds: bool = False) -> Answer:
    ended = read_finals(driver.plan.files, finals.declaration)
    return make_answer(
        driver.plan.settings, driver.plan.space, driver.plan.arms, finals.declaration, driver.journal.all(), ended,
        finals.earlier_openings(), folds=folds,
    )  # fmt: skip


def write(driver: Driver, finals: Finals, record_files: Sequence[tuple[Path, str]] = ()) -> Answer:
    """The answer, into the folder and MLflow."""
    answer, ended = answer_of(driver, finals), read_finals(driver.plan.files, finals.declaration)
    publish(answer, driver.journal.all(), ended, driver.plan, driver.tracker, list(record_files))
    return answer
