"""A real study whose jobs run in this process, as one worker would run them: no cluster, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from sdl_study import distributed
from sdl_study.data.prepared import PreparedData, Terms
from sdl_study.record.answer import Answer
from sdl_study.study import driver as driver_module
from sdl_study.study import finals as finals_module
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import Work
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.search.searcher import Search
from sdl_study.training.run import run_job
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Done, Epoch
from sdl_study.workers.job import Job, JobStopped
from tests.integration.tiny import tiny_data, tiny_study

SHORT = {
    "budget.trials": 2, "train.epochs": 3, "train.workers": 1, "stages": ("probe", "finetune"),
    "finetune.epochs": 2, "controls": ("untrained", "label_prior"),
}  # fmt: skip
ENGINE = cast(
    Engine,
    SimpleNamespace(
        groups=1,
        error=None,
        folder=Path("nowhere"),
        broker_name="",
        gpus_of_trial=0.0,
        wants=lambda _: None,
        release=lambda key: None,
        check=lambda name: None,
    ),
)


def run_alone(
    out: Path, overrides: Mapping[str, Any] | None = None, terms: Terms = "open", marker: str = ""
) -> tuple[Plan, Answer]:
    """The tiny study with two arms of two trials, in both stages; its folder is ``out / "tiny"``."""
    data = tiny_data(out / "prepared", terms, marker)
    plan = make_plan(tiny_study(data, ("any", "sd")), out, "tiny", {**SHORT, **(overrides or {})})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(driver_module, "run_search", _search)
            patch.setattr(finals_module, "run_all", _run_all)
            with Driver(plan, PreparedData.load(str(data)), None) as driver:
                return plan, driver.run(lambda: ENGINE)
    finally:
        torch.set_num_threads(threads)


def _run(job: Job, report: Callable[[Epoch], bool]) -> dict[str, Any]:
    return run_job(job, report, distributed.object_channel(), torch.device("cpu"))


def _search(search: Search, folder: Path, name: str) -> None:
    while not search.finished:
        found = search.next_trial("trial")
        assert found is not None
        job = Job(**found["job"])

        def report(epoch: Epoch, job: Job = job) -> bool:
            return search.heard(job.number, epoch)

        with suppress(JobStopped):
            _run(job, report)
        search.ended("trial", error=False)


def _run_all(work: Sequence[Work], engine: object, told: object) -> list[Work]:
    for item in work:
        if item.outcome is None:
            item.keep(Done(_run(item.job, lambda epoch: True)))
    return []
