"""A trial or final run again from its record, in a folder of its own: the study's folder is only read.

Test inputs are scored, test labels are not opened: the scores are compared with those that the final left.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sdl_study import distributed
from sdl_study.arms import BEFORE_TRAINING
from sdl_study.data.prepared import PreparedData
from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.record.chosen import Chosen
from sdl_study.record.outcome import Result, write_outcome
from sdl_study.references import load_object
from sdl_study.study.controls import run_control
from sdl_study.study.jobs import RUN_JOB, JobMaker
from sdl_study.study.plan import Plan
from sdl_study.workers.events import Done, End, Epoch, Failed, Stopped
from sdl_study.workers.group import describe
from sdl_study.workers.job import Job, JobStopped, SettingFailure


@dataclass(frozen=True)
class Way:
    """How something is run again.

    Attributes:
        data: folder of the prepared data set.
        workers: processes that share it; one is this process, where no cluster is joined.
        keep: a trial trains as a final does, with the same numbers, and leaves its encoder.
        address: of a running cluster; None starts one on this machine where more than one process is needed.
    """

    data: Path
    workers: int
    keep: bool = False
    address: str | None = None


@dataclass(frozen=True)
class Again:
    """What came of it.

    Attributes:
        folder: where it worked: scores and, of a final, the encoder.
        epochs: metrics of every epoch.
        result: of a final; None of a trial, and of what failed.
        failure: why it failed; None where it did not.
    """

    folder: Path
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    result: Result | None = None
    failure: str | None = None


def check_can_run(chosen: Chosen, keep: bool) -> None:
    """Refuse what has no numbers to compare, or leaves no weights to keep.

    Raises:
        UserError: one line.
    """
    trial = chosen.trial
    if trial is None:
        _ = chosen.result  # it has one, or says why not
        return
    if trial.state not in ("complete", "pruned"):
        why = f"failed ({trial.reason})" if trial.state == "failed" else "has not ended yet"
        raise UserError(f"{chosen.reference}: this trial {why}: there is nothing to compare with")
    if keep and trial.state != "complete":
        raise UserError(
            f"{chosen.reference}: was stopped after {len(trial.epochs)} epochs, so it has no weights to keep; choose a "
            "trial that ran to its end"
        )


def run_again(plan: Plan, chosen: Chosen, way: Way, folder: Path) -> Again:
    """Run it.

    Args:
        plan: the study as its folder has it.
        chosen: the trial or final.
        way: how.
        folder: empty; it works there.

    Raises:
        MachineFailure: Ray does not start, or went away, or a worker did.
    """
    trial = chosen.trial
    if trial is None and chosen.slot.role == "control" and chosen.slot.name not in BEFORE_TRAINING:
        return Again(
            folder, result=run_control(chosen.slot.name, PreparedData.load(way.data), plan.settings, folder)
        )
    job = _job(JobMaker(plan, way.data), chosen, folder, way.keep)
    stops = max(trial.epochs) if trial is not None and trial.state == "pruned" else None
    alone = way.workers == 1 and way.address is None
    again = Again(folder)
    with closing(_here(job, stops) if alone else _on_engine(plan, job, way, stops)) as events:
        for event in events:
            again = _heard(again, event, job)
    return again


def _heard(again: Again, event: Epoch | End, job: Job) -> Again:
    match event:
        case Epoch():
            return replace(again, epochs={**again.epochs, event.epoch: event.metrics})
        case Failed(kind="machine"):
            raise MachineFailure(f"{job.key}: its workers went away; start the same command again")
        case Failed():
            return replace(again, failure=event.reason)
        case Done() if job.kind != "trial":
            return replace(again, result=Result(**event.result))
    return again


def _job(maker: JobMaker, chosen: Chosen, folder: Path, keep: bool) -> Job:
    if chosen.trial is None:
        job = maker.final(chosen.slot).job
    else:
        job = Job(**maker.trial(chosen.trial, resumed=False))
        if keep:
            job = replace(job, kind="final")
    return replace(job, key=f"again/{job.key}", folder=str(folder), resumed=False)


def _here(job: Job, stops: int | None) -> Generator[Epoch | End]:
    """In this process, as a worker alone in its group would."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seen: list[Epoch] = []

    def report(epoch: Epoch) -> bool:
        seen.append(epoch)
        return epoch.epoch != stops

    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    end: End
    try:
        end = Done(load_object(RUN_JOB)(job, report, distributed.object_channel(), device))
    except JobStopped:
        end = Stopped()
    except SettingFailure as error:
        end = Failed("setting", describe(error))
    finally:
        torch.set_num_threads(threads)
    yield from seen
    yield end


def _on_engine(plan: Plan, job: Job, way: Way, stops: int | None) -> Generator[Epoch | End]:
    """On a worker group of its own, through Ray as the study ran."""
    from sdl_study.study.signals import Interruptions
    from sdl_study.workers.engine import Engine

    signals, attempts = Interruptions(), plan.settings.budget.max_attempts
    with ExitStack() as stack:
        stack.enter_context(signals.in_order())
        folder = Path(tempfile.mkdtemp(prefix=".engine-", dir=plan.files.out))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        engine = Engine(
            way.workers,
            lambda _: way.workers,
            "all",
            attempts,
            folder,
            way.address,
            RUN_JOB,
            signals.interrupt,
        )
        stack.enter_context(engine)
        try:
            yield from _leased(engine.lease(job), stops)
        except KeyboardInterrupt:
            went_away = None if signals.by_signal else engine.went_away()
            if went_away is None:
                raise
            raise went_away from None


def _leased(lease: Any, stops: int | None) -> Iterator[Epoch | End]:
    """The events of a job on a worker group, to its end or to the epoch after which the record stops."""
    with lease:
        for event in lease:
            yield event
            if isinstance(event, Epoch) and event.epoch == stops:
                return


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """An empty folder for its owner alone, gone at the end unless it was renamed.

    Raises:
        UserError: it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".again-", dir=parent))
    except OSError as error:
        raise UserError(f"{parent}: cannot be written ({error.strerror})") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kept(again: Again) -> None:
    """Leave what ``export`` reads in the folder: encoder, scores and the result; no checkpoints."""
    from sdl_study.record.files import BEST, LAST

    assert again.result is not None
    for name in (LAST, BEST):
        (again.folder / name).unlink(missing_ok=True)
    write_outcome(again.folder, again.result)
