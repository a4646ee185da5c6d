"""The engine: Ray, the broker and the worker groups, shared by all studies of one command."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from sdl_study.ending import MachineFailure
from sdl_study.workers.broker import ACTOR_NAME, Broker
from sdl_study.workers.group import quiet_environment, serve
from sdl_study.workers.lease import no_lease_left
from sdl_study.workers.places import Cluster, Fewest
from sdl_study.workers.ray_session import RaySession

# How long groups may take to end: after an interruption a batch system kills soon, and a job may be far from its
# epoch's end; otherwise they are idle, and only a busy machine makes them slow.
_INTERRUPTED_SECONDS = 20.0
_IDLE_SECONDS = 120.0


class Engine:
    """A running cluster with as many worker groups as fit; a context manager.

    Args:
        workers: workers of a group; None means on GPUs the fewest on which a trial fits, else min(2, CPUs).
        fewest: how many GPUs a trial needs; asked where they are not named.
        trials_per_group: "all" (a group serves every trial) or 1 (a fresh group for each).
        trials_per_gpu: groups of one worker that share a GPU.
        max_attempts: how often a job is handed out when the machine fails.
        folder: where Ray Train and Tune keep their own files.
        address: of a running cluster; None starts one on this machine.
        run_job: what runs a job in a worker, as ``module:function`` (see ``workers.job.RunJob``).
        on_lost: called, from another thread, when a Ray that was started here goes away.

    Attributes:
        error: why no group can run any more, once none can.

    Raises:
        UserError: the groups cannot fit the cluster, or Ray has no place here.
        MachineFailure: Ray does not start.
    """

    def __init__(
        self,
        workers: int | None,
        fewest: Fewest,
        trials_per_group: str | int,
        max_attempts: int,
        folder: Path,
        address: str | None,
        run_job: str,
        on_lost: Callable[[], None] = lambda: None,
        trials_per_gpu: int = 1,
    ) -> None:
        self.folder = folder
        self._asked, self._fewest = workers, fewest
        self._trials_per_group, self._per_gpu = trials_per_group, trials_per_gpu
        self._max_attempts, self._run_job = max_attempts, run_job
        self._session = RaySession(address, on_lost)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.broker: Any = None
        self.error: str | None = None

    @property
    def groups(self) -> int:
        """Worker groups that run at the same time."""
        return self._places.groups

    def suits(self, workers: int | None, fewest: Fewest) -> bool:
        """Whether an engine for these workers would have the same groups."""
        return self._cluster.places(workers, fewest, self._per_gpu) == self._places

    @property
    def logs(self) -> str:
        """Where Ray's logs lie."""
        return self._session.logs

    def went_away(self, seconds: float = 0.0) -> MachineFailure | None:
        """What to say when Ray went away; None while it is there (it is looked at for some seconds)."""
        return self._session.went_away(seconds)

    def __enter__(self) -> Engine:
        os.environ.update(quiet_environment())
        self._session.start()
        try:
            self._start_groups()
        except BaseException as error:
            self._close(error)
            raise
        return self

    def _start_groups(self) -> None:
        self._cluster = Cluster.joined()
        self._places = self._cluster.places(self._asked, self._fewest, self._per_gpu)
        actor: Any = ray.remote(Broker)
        self.broker = actor.options(name=ACTOR_NAME, num_cpus=0, max_concurrency=1000).remote(
            self._max_attempts
        )
        for slot in range(self._places.groups):
            thread = threading.Thread(
                target=self._serve_slot, args=(slot,), name=f"group-{slot}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _serve_slot(self, slot: int) -> None:
        """Run groups in a slot until the engine closes; without the broker no job can run."""
        try:
            self._serve_groups(slot)
        except Exception as error:  # noqa: BLE001 (a thread has nobody to raise to)
            if not self._closing.is_set() and self._session.look() is None:
                self.error = f"the broker of the worker groups went away ({type(error).__name__})"

    def _serve_groups(self, slot: int) -> None:
        """Run groups, one after another, until the engine closes or none gets anywhere."""
        idle_deaths, generation = 0, 0
        while not self._closing.is_set():
            before = ray.get(self.broker.steps.remote(slot))
            try:
                self._trainer(slot, generation).fit()
                continue
            except Exception as error:  # noqa: BLE001 (a group may end by anything; its job goes on)
                if self._closing.is_set():
                    return
                reason = type(error).__name__
            finally:
                generation += 1
            idle_deaths = idle_deaths + 1 if ray.get(self.broker.steps.remote(slot)) == before else 0
            if idle_deaths > self._max_attempts + 1:  # first a job that kills its group is given up
                self.error = f"a worker group died {idle_deaths} times without any progress ({reason})"
                ray.get(self.broker.abort.remote(self.error))
                return

    def _trainer(self, slot: int, generation: int) -> TorchTrainer:
        jobs = None if self._trials_per_group == "all" else 1
        on_gpus = self._places.device == "GPU"
        share = 1 / self._places.per_gpu
        config = {"slot": slot, "jobs": jobs, "run_job": self._run_job, "gpu_share": share}
        return TorchTrainer(
            serve,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=self._places.workers,
                use_gpu=on_gpus,
                resources_per_worker={"CPU": 1, "GPU": share} if on_gpus else None,
                placement_strategy=self._places.strategy,
            ),
            run_config=RunConfig(
                name=f"group-{slot}-{generation}-{os.getpid()}-{time.time_ns()}",
                storage_path=str(self.folder),
                # A group that cannot be set up counts as one that died: Ray would try again for ever, unheard.
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)

    def _close(self, error: BaseException | None) -> None:
        """End the groups and leave Ray; whatever is wrong with Ray by now does not hide ``error``."""
        self._closing.set()
        interrupted = error is not None and not isinstance(error, Exception)
        self._session.leave(self._groups_ended(_INTERRUPTED_SECONDS if interrupted else _IDLE_SECONDS))

    def _groups_ended(self, seconds: float) -> bool:
        """Tell the groups to end, and wait; whether no thread of this process asks Ray anything any more."""
        deadline = time.monotonic() + seconds
        if self.broker is not None and self._session.look() is None:
            try:
                ray.get(self.broker.close.remote(), timeout=seconds)
            except RayError:  # the broker is dead or stuck: its groups end by their own errors, or by force
                deadline = min(deadline, time.monotonic() + _INTERRUPTED_SECONDS)
        while any(thread.is_alive() for thread in self._threads) or not no_lease_left(0.0):
            if time.monotonic() > deadline or self._session.look():
                return False
            time.sleep(0.05)
        return True
