"""Jobs of a study and their results: trials for the search, repeats for the selection, finals and controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl_study.evaluation.final import PREDICTIONS_FILE
from sdl_study.files import read_json, write_json
from sdl_study.seeds import derive_seed
from sdl_study.space import ParameterValue
from sdl_study.study.plan import Plan
from sdl_study.study.records import TrialRecord
from sdl_study.training.scores import has_scores
from sdl_study.workers.events import Done, Epoch, Event, Failed, from_plain, to_plain
from sdl_study.workers.job import Job, Kind
from sdl_study.workers.lease import Lease

RESULT = "result.json"
RUN_JOB = "sdl_study.training.run:run_job"
"""What the worker groups of a study run for a job."""


@dataclass(frozen=True)
class Work:
    """A job outside the search: it runs to its end and leaves ``result.json``, its outcome, in its folder.

    Attributes:
        job: what the worker group does.
        parameters: the searched parameters that it uses.
        seed_number: which repeat it is, from 0 on.
    """

    job: Job
    parameters: dict[str, ParameterValue]
    seed_number: int

    @property
    def result_path(self) -> Path:
        """Where its result lies once it is done."""
        return Path(self.job.folder) / RESULT

    @property
    def ended(self) -> bool:
        """Whether it has an outcome that stays: a result, or a failure of its own."""
        return self._outcome() is not None

    def result(self) -> dict[str, Any] | None:
        """Its result; None before it is done, or where it failed."""
        outcome = self._outcome()
        return outcome.result if isinstance(outcome, Done) else None

    def failure(self) -> str | None:
        """Why it failed by itself (a loss that is not finite, memory); the same seed would fail again."""
        outcome = self._outcome()
        return outcome.reason if isinstance(outcome, Failed) else None

    def keep(self, event: Event) -> None:
        """Keep the event that ended it, where the same job would end like that again: in ``result.json``."""
        if isinstance(event, Done) or (isinstance(event, Failed) and event.kind == "setting"):
            write_json(self.result_path, {**to_plain(event), "arm": self.job.arm})

    def _outcome(self) -> Event | None:
        """What was kept; nothing where a power cut took the scores that the result speaks of."""
        if not self.result_path.exists():
            return None
        outcome = from_plain(read_json(self.result_path))
        return None if isinstance(outcome, Done) and not self._has_its_scores() else outcome

    def _has_its_scores(self) -> bool:
        """A trial leaves none; those of a final or control stand in its predictions once it was scored."""
        folder = Path(self.job.folder)
        return self.job.kind == "trial" or has_scores(folder) or (folder / PREDICTIONS_FILE).exists()


class JobMaker:
    """Makes the jobs of one study.

    Args:
        plan: the study.
        data: folder of its prepared data set.
    """

    def __init__(self, plan: Plan, data: Path) -> None:
        self._plan, self._data = plan, data

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
        settings = self._plan.with_parameters(parameters).model_dump(mode="json")
        return Job(
            key=f"{self._plan.name}/{key}",
            kind=kind,
            folder=str(folder),
            data=str(self._data),
            stores=str(self._plan.files.stores),
            settings=settings,
            arm=arm,
            seed=seed,
            **more,
        )

    def trial(self, record: TrialRecord, resumed: bool) -> dict[str, Any]:
        """A trial's job; all trials of a study share the search seed."""
        seed = derive_seed(self._plan.settings.seed, "search")
        job = self._job(
            f"trial/{record.number}", "trial", self._plan.files.trial(record.number), record.arm, seed,
            record.parameters, number=record.number, resumed=resumed,
        )  # fmt: skip
        return job.to_dict()

    def selection(self, record: TrialRecord, seed_number: int) -> Work:
        """A repeat of a trial on a selection seed."""
        folder = self._plan.files.folder / "selection" / f"{record.number:04d}-{seed_number}"
        seed = derive_seed(self._plan.settings.seed, "selection", seed_number)
        key = f"selection/{record.number}/{seed_number}"
        job = self._job(key, "trial", folder, record.arm, seed, record.parameters, resumed=True)
        return Work(job, record.parameters, seed_number)

    def final(
        self,
        declaration: str,
        name: str,
        kind: Kind,
        arm: str,
        parameters: dict[str, ParameterValue],
        number: int,
    ) -> Work:
        """A final (or a control that needs an encoder) on a final seed, under a declaration."""
        folder = self._plan.files.folder / "finals" / declaration[:12] / f"{name}-{number}"
        seed = derive_seed(self._plan.settings.seed, "final", number)
        key = f"{kind}/{declaration[:12]}/{name}/{number}"
        job = self._job(key, kind, folder, arm, seed, parameters, resumed=True)
        return Work(job, parameters, number)


def run_all(work: Sequence[Work], groups: int, told: Callable[[Work, Event], None]) -> list[Work]:
    """Run jobs on the worker groups, as many at a time as there are groups; finished ones are left as they are.

    Args:
        work: the jobs.
        groups: number of worker groups.
        told: called with every event of every job, from several threads.

    Returns:
        The jobs without an outcome, which the machine ended or another exception: they can be run again.
    """
    todo = [item for item in work if not item.ended]
    with ThreadPoolExecutor(max_workers=max(1, groups)) as pool:
        for future in [pool.submit(_run, item, told) for item in todo]:
            future.result()
    return [item for item in work if not item.ended]


def _run(item: Work, told: Callable[[Work, Event], None]) -> None:
    with Lease(item.job) as lease:
        for event in lease:
            told(item, event)
            if not isinstance(event, Epoch):
                item.keep(event)
