"""Jobs of a study: trials for the search, repeats for the selection, finals and controls; and how they are run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Failure, Outcome, Repeat, Result, read_outcome, write_outcome
from sdl_study.record.trials import TrialRecord
from sdl_study.seeds import derive_seed, of_search
from sdl_study.stages import PROBE
from sdl_study.study.located import located
from sdl_study.study.plan import Plan
from sdl_study.workers.events import Done, Epoch, Event, Failed
from sdl_study.workers.job import Job, Kind
from sdl_study.workers.lease import Lease

RUN_JOB = "sdl_study.training.run:run_job"
"""What the worker groups of a study run for a job."""

_COUNT_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """A job outside the search: it runs to its end and leaves its outcome in its folder."""

    job: Job

    @property
    def folder(self) -> Path:
        """Where its checkpoints and its outcome lie."""
        return Path(self.job.folder)

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; None before that, or where it has to run again."""
        return read_outcome(self.folder)

    def keep(self, event: Event) -> None:
        """Keep the event that ended it, where the same job would end like that again."""
        if isinstance(event, Done):
            kind = Repeat if self.job.kind == "trial" else Result
            write_outcome(self.folder, kind(**event.result))
        elif isinstance(event, Failed) and event.kind == "setting":
            write_outcome(self.folder, Failure(event.reason))


def epochs_of(job: Job) -> int:
    """How many epochs a repeat or final trains for."""
    pretraining, finetuning = (job.settings[stage]["epochs"] for stage in ("train", "finetune"))
    if job.stage == PROBE:
        return pretraining
    alone = job.kind == "final" and not job.start
    return finetuning + (pretraining if alone else 0)


class JobMaker:
    """Makes the jobs of one study.

    Args:
        plan: the study.
        data: folder of its prepared data set.
        folds: whether the selection's seeds have folds of train and dev.
    """

    def __init__(self, plan: Plan, data: Path, folds: bool = False) -> None:
        self._plan, self._data, self.folds = plan, data, folds

    def _job(
        self,
        key: str,
        kind: Kind,
        folder: Path,
        arm: str,
        seed: int,
        parameters: Mapping[str, Any],
        **more: Any,
    ) -> Job:
        return Job(
            key=key,
            kind=kind,
            folder=str(folder),
            data=str(self._data),
            stores=str(self._plan.files.stores),
            settings=self.settings(parameters),
            arm=self._plan.job_arm(arm),
            seed=seed,
            **more,
        )

    def settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Settings (nested, as JSON) of a job with some parameters."""
        return located(self._plan.with_parameters(parameters).model_dump(mode="json"), self._plan.module)

    def trial(self, record: TrialRecord, resumed: bool) -> dict[str, Any]:
        """A trial's job; the trials of all arms share the seed of a search."""
        seed = derive_seed(self._plan.settings.seed, "search", *of_search(record.search))
        job = self._job(
            f"{self._plan.name}/trial/{record.number}", "trial", self._plan.files.trial(record.number),
            record.arm, seed, record.parameters, number=record.number, resumed=resumed,
        )  # fmt: skip
        return job.to_dict()

    def repeat(self, record: TrialRecord, seed_number: int) -> Work:
        """A repeat of a trial on a selection seed, which is its search's own and the same for all arms."""
        folder = self._plan.files.repeat(record.number, seed_number)
        seed = derive_seed(self._plan.settings.seed, "selection", seed_number, *of_search(record.search))
        key = f"{self._plan.name}/selection/{record.number}/{seed_number}"
        budget = self._plan.settings.budget
        order = derive_seed(self._plan.settings.seed, "train and dev", *of_search(record.search))
        fold = (seed_number, budget.selection_folds, order) if self.folds else None
        return Work(
            self._job(key, "trial", folder, record.arm, seed, record.parameters, resumed=True, fold=fold)
        )

    def final(self, slot: FinalSlot) -> Work:
        """A final, or a control that needs an encoder, on its final seed."""
        seed = derive_seed(self._plan.settings.seed, *slot.purpose)
        start = self.starts_from(slot)
        job = self._job(
            slot.key, slot.role, slot.folder, slot.arm, seed, slot.parameters, resumed=True, stage=slot.stage,
            start="" if start is None else str(start),
        )  # fmt: skip
        return Work(job)

    def starts_from(self, slot: FinalSlot) -> Path | None:
        """Folder of the final whose encoder a fine-tuning goes on from; an arm with a classification loss alone has
        none: it trains on labels from the start."""
        return slot.start if self._plan.losses[slot.arm].arm.contrasts else None


class Groups(Protocol):
    """An engine, as far as it is needed here."""

    @property
    def groups(self) -> int: ...
    def lease(self, job: Job) -> Lease: ...
    def wants(self, groups: int) -> None: ...


def run_all(work: Sequence[Work], engine: Groups, told: Callable[[Work, Event], None]) -> list[Work]:
    """Run jobs on the worker groups, as many at a time as there are groups; finished ones are left as they are.

    Args:
        work: the jobs.
        engine: has the worker groups, whose number may change meanwhile.
        told: called with every event of every job, from several threads.

    Returns:
        The jobs without an outcome, which the machine ended or another exception: they can be run again.
    """
    todo = deque(item for item in work if item.outcome is None)
    pool, running = ThreadPoolExecutor(max_workers=max(1, len(todo))), set[Future[None]]()
    try:
        while todo or running:
            while todo and len(running) < max(1, engine.groups):
                running.add(pool.submit(_run, todo.popleft(), engine, told))
            engine.wants(len(todo))
            done, running = wait(running, timeout=_COUNT_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
    finally:  # an interruption waits for no job: the engine stops those that run when it closes
        pool.shutdown(wait=False, cancel_futures=True)
    return [item for item in work if item.outcome is None]


def _run(item: Work, engine: Groups, told: Callable[[Work, Event], None]) -> None:
    with engine.lease(item.job) as lease:
        for event in lease:
            told(item, event)
            if not isinstance(event, Epoch):
                item.keep(event)
