"""A worker group: the function that Ray Train runs in each of W workers, serving jobs one after another."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train.torch import get_device

from sdl_study import distributed
from sdl_study.errors import UserError, debug_text
from sdl_study.references import load_object, own_files
from sdl_study.workers.broker import NAMESPACE, Member
from sdl_study.workers.events import Done, End, Epoch, Failed, FailureKind, Stopped
from sdl_study.workers.failures import blame, code_of
from sdl_study.workers.job import Job, JobStopped, RunJob, SettingFailure

_WAIT_SECONDS = 30.0
_PACKAGE = Path(__file__).resolve().parent.parent


class JobRaised(RuntimeError):
    """A job raised on this rank; its text stays out, for it may hold a patient's words.

    Attributes:
        follows: whether it did because another rank went away.
    """

    def __init__(self, text: str, follows: bool = False) -> None:
        super().__init__(text, follows)
        self.follows = follows

    def __str__(self) -> str:
        return str(self.args[0])


def serve(config: dict[str, Any]) -> None:
    """Serve jobs until the broker says that there are no more, or as many as ``config`` allows.

    Args:
        config: the ``group``'s number, the name of its ``broker``, ``jobs`` to serve (None: all that come),
            ``gpu_share``, the part of a GPU's memory that is its own, and ``run_job``, the reference of what runs one:
            it is found here, so that nothing is pickled by value.
    """
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    elif config["gpu_share"] < 1:  # whether a trial fits must not depend on what its neighbours take just now
        torch.cuda.set_per_process_memory_fraction(config["gpu_share"])
    run_job: RunJob = load_object(config["run_job"])
    broker = ray.get_actor(config["broker"], namespace=NAMESPACE)
    ray.get(broker.joined.remote(config["group"], _member()))
    channel = distributed.object_channel()
    served = 0
    while config["jobs"] is None or served < config["jobs"]:
        asked = None
        if distributed.rank() == 0:
            asked = ray.get(broker.next_job.remote(config["group"], _WAIT_SECONDS))
        asked = distributed.broadcast_object(asked, channel)
        if asked is None:
            return
        if asked == "idle":
            continue
        _serve_one(run_job, asked, broker, config["group"], channel)
        served += 1


def _member() -> Member:
    node = ray.get_runtime_context().get_node_id()
    return Member(distributed.rank(), node, ray.util.get_node_ip_address())


def _serve_one(run_job: RunJob, job: Job, broker: Any, group: int, channel: Any) -> None:
    """Run one job; what it raises ends the group unless every rank raised it at the same step."""

    def report(epoch: Epoch) -> bool:
        goes_on = None
        if distributed.rank() == 0:
            goes_on = ray.get(broker.report.remote(job.key, group, epoch))
        return distributed.broadcast_object(goes_on, channel)

    try:
        end: End = Done(run_job(job, report, channel, get_device()))
    except JobStopped:
        end = Stopped()
    except SettingFailure as error:
        end = _failed("setting", error)
    except Exception as error:  # noqa: BLE001 (whatever a job raises is told to its side, then raised on)
        if distributed.is_peer_failure(error):
            raise JobRaised("another rank of the group went away", follows=True) from None
        _tell_blame(error, job, broker, group)
        raise JobRaised(describe(error) + code_of(error)) from None
    if distributed.rank() == 0:
        ray.get(broker.finish.remote(job.key, group, end))


def _tell_blame(error: Exception, job: Job, broker: Any, group: int) -> None:
    """What the machine did to a job is no end of it: another group goes on with it, where there is room on the disk."""
    kind = blame(error)
    if kind == "disk":
        ray.get(broker.halt.remote(f"the disk of {job.folder} is full"))
    elif kind != "machine":
        ray.get(broker.finish.remote(job.key, group, _failed(kind, error)))


def _failed(kind: FailureKind, error: Exception) -> Failed:
    return Failed(kind, describe(error), shown=_shown(error))


def _shown(error: Exception) -> str:
    if isinstance(error, UserError):
        return f"error: {' '.join(str(error).split())}\n"
    return debug_text(error) or ""


def describe(error: BaseException) -> str:
    """Exception type, and file and line in the project or in the user's own files; never its text."""
    place, own = "", own_files()
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            place = f" at {path.relative_to(_PACKAGE.parent)}:{frame.lineno}"
        elif path in own:
            place = f" at {path.name}:{frame.lineno}"
    return type(error).__name__ + place


def quiet_environment() -> dict[str, str]:
    """Environment of Ray Train for groups that live long: quick polls, no watchers, no usage reporting.

    And of the C library: memory of a tensor above 32 MiB would go back to the system as soon as it is free, and come
    back page by page: a third of the time of a transformer's step on CPUs.
    """
    return {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 34),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
