"""The engine: Ray, the broker and the worker groups, shared by all studies of one command."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.workers.broker import Broker
from sdl_study.workers.group import quiet_environment, serve
from sdl_study.workers.job import Job
from sdl_study.workers.lease import Lease, no_lease_left
from sdl_study.workers.network import COLLECTIVE_TIMEOUT, GroupTorchConfig
from sdl_study.workers.places import Cluster, Fewest, NoPlace, Places, counted
from sdl_study.workers.ray_session import GOES_ON, RaySession
from sdl_study.workers.slots import Ending, Slots
from sdl_study.workers.waiting import Say, first_places

# How long groups may take to end: after an interruption a batch system kills soon, and a job may be far from its
# epoch's end; otherwise they are idle, and only a busy machine makes them slow.
_INTERRUPTED_SECONDS = 8.0
_IDLE_SECONDS = 120.0
_COUNT_SECONDS = 3.0
_WANTED_SECONDS = 15.0


class Engine:
    """A running cluster with as many worker groups as fit; a context manager.

    Args:
        workers: workers of a group; None means on GPUs the fewest on which a trial fits, else min(2, CPUs).
        fewest: how many GPUs a trial needs; asked where they are not named.
        trials_per_group: "all" (a group serves every trial) or 1 (a fresh group for each).
        trials_per_gpu: groups of one worker that share a GPU.
        spread: whether a group's workers go to as many machines as there are.
        max_attempts: how often a job is handed out when the machine fails.
        folder: where Ray Train and Tune keep their own files.
        address: of a running cluster; None starts one on this machine.
        run_job: what runs a job in a worker, as ``module:function`` (see ``workers.job.RunJob``).
        on_lost: called, from another thread, when Ray goes away.
        say: prints a line about the machines and groups, from any thread.

    Attributes:
        broker_name: of the actor, by which groups and leases find it; no other engine's is called so.
        ending: why no group can run any more, once none can.

    Raises:
        UserError: the groups do not fit the machine, or within a time the cluster; or Ray has no place here.
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
        spread: bool = False,
        say: Say = lambda _: None,
    ) -> None:
        self.folder = folder
        self._asked, self._fewest = workers, fewest
        self._trials_per_group, self._per_gpu, self._spread = trials_per_group, trials_per_gpu, spread
        self._max_attempts, self._run_job = max_attempts, run_job
        self._session = RaySession(address, on_lost)
        self._closing = threading.Event()
        self._wanted = (0, 0.0)
        self._threads: list[threading.Thread] = []
        self._slots: Slots
        self._say = say
        self.broker: Any = None
        self.broker_name = f"sdl-broker-{os.getpid()}-{time.time_ns()}"
        self.ending: Ending | None = None

    @property
    def groups(self) -> int:
        """Worker groups that run at the same time; on a cluster that was joined this changes with its machines."""
        return self._slots.groups

    @property
    def gpus_of_trial(self) -> float:
        """GPUs that a group claims; part of one where several share it, 0 on CPUs."""
        return self._places.workers / self._places.per_gpu if self._places.device == "GPU" else 0.0

    def wants(self, groups: int) -> None:
        """So many groups more would have work; a cluster that can add machines does."""
        self._wanted = (groups, time.monotonic())

    def lease(self, job: Job) -> Lease:
        """A worker group for a job."""
        return Lease(job, self.broker_name)

    def release(self, key: str) -> None:
        """Stop a job if it still runs, and give its group back; nobody waits for it. Its own side does so too, unless
        its process dies first: the group would wait for its answer for ever."""
        with suppress(RayError, ConnectionError):  # whether Ray went away the session tells
            self.broker.release.remote(key)

    def suits(self, workers: int | None, fewest: Fewest) -> bool:
        """Whether an engine for these workers would have the same groups."""
        try:
            found = self._cluster.places(workers, fewest, self._per_gpu, self._spread)
        except NoPlace:  # a cluster that was joined may have places later
            return False
        return replace(found, groups=0, strategy="PACK") == replace(self._places, groups=0, strategy="PACK")

    def check(self, name: str) -> None:
        """Raise what ended the groups.

        Args:
            name: of the study that needs them.

        Raises:
            MachineFailure: a disk is full, or all machines went away.
            UserError: no group can run any more, for another reason.
        """
        if self.ending is None:
            return
        if self.ending.machine:
            raise MachineFailure(f"{name}: {self.ending.reason}; {GOES_ON}")
        raise UserError(f"{name}: {self.ending.reason}; Ray's logs say why: {self.logs}")

    @property
    def error(self) -> str | None:
        """Why no group can run any more, once none can."""
        return None if self.ending is None else self.ending.reason

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

    def _found(self, cluster: Cluster) -> Places:
        return cluster.places(self._asked, self._fewest, self._per_gpu, self._spread)

    def _start_groups(self) -> None:
        if self._session.own:
            self._cluster = Cluster.joined()
            self._places = self._found(self._cluster)
        else:
            self._cluster, self._places = first_places(
                self._found, self._asked or 1, self._say, self._session.address
            )
            self._say(f"worker groups: {self._places.groups} of {self._places.need}; {self._cluster.words}")
        actor: Any = ray.remote(Broker)
        # With the driver, whose loss ends the study anyway: a worker's machine may go away at any time.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.broker = actor.options(
            name=self.broker_name, num_cpus=0, max_concurrency=1000, scheduling_strategy=here
        ).remote(self._max_attempts)
        self._slots = Slots(
            self.broker,
            self._trainer,
            self._max_attempts,
            self._say,
            self._threads,
            self._closing,
            self._ended,
        )
        self._slots.fit(self._places)
        if not self._session.own:
            self._threads.append(threading.Thread(target=self._follow_machines, name="machines", daemon=True))
            self._threads[-1].start()

    def _follow_machines(self) -> None:
        """Have as many groups as the machines have places for, while machines come and go."""
        while not self._closing.wait(_COUNT_SECONDS):
            with suppress(RayError, ConnectionError):  # whether Ray went away the session tells
                self._count_machines()

    def _count_machines(self) -> None:
        cluster = Cluster.joined(self._cluster.memory)
        if (cluster.cpus, cluster.gpus) != (self._cluster.cpus, self._cluster.gpus):
            self._cluster, self._places = cluster, self._places.recounted(cluster)
            self._say(f"{cluster.words} now: places for {counted(self._places.groups, 'worker group')}")
        wanted, at = self._wanted
        self._slots.fit(self._places, wanted if time.monotonic() - at < _WANTED_SECONDS else 0)

    def _ended(self, ending: Ending) -> None:
        """No group can run any more: every job ends."""
        if self._session.look() is not None:
            return
        self.ending = ending
        with suppress(RayError):  # without the broker, nobody waits for it any more
            ray.get(self.broker.abort.remote(ending.reason))

    def _trainer(self, places: Places, group: int) -> TorchTrainer:
        jobs = None if self._trials_per_group == "all" else 1
        on_gpus = places.device == "GPU"
        config = {
            "group": group, "broker": self.broker_name, "jobs": jobs, "run_job": self._run_job,
            "gpu_share": 1 / places.per_gpu,
        }  # fmt: skip
        return TorchTrainer(
            serve,
            train_loop_config=config,
            torch_config=GroupTorchConfig(
                backend="nccl" if on_gpus else "gloo", timeout_s=int(COLLECTIVE_TIMEOUT.total_seconds())
            ),
            scaling_config=ScalingConfig(
                num_workers=places.workers,
                use_gpu=on_gpus,
                resources_per_worker=places.bundles[0],
                placement_strategy=places.strategy,
            ),
            run_config=RunConfig(
                name=f"{self.broker_name}-group-{group}",
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
