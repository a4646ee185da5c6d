"""The engine: a Ray cluster, the broker and the worker groups, shared by all studies of one command."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from sdl_study.errors import UserError
from sdl_study.workers.broker import ACTOR_NAME, NAMESPACE, Broker
from sdl_study.workers.group import quiet_environment, serve

_CLOSING_SECONDS = 20.0


@contextmanager
def _files_for_this_user_alone() -> Iterator[None]:
    """The processes started here, and all that they start, write files that only this user can read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class Engine:
    """A running cluster with as many worker groups as fit; a context manager.

    Args:
        workers: workers of a group; None means one per GPU, or min(2, CPUs) without GPUs.
        trials_per_group: "all" (a group serves every trial) or 1 (a fresh group for each).
        max_attempts: how often a job is handed out when the machine fails.
        folder: where Ray Train and Tune keep their own files.
        address: of a running cluster; None starts one on this machine.
        run_job: what runs a job in a worker, as ``module:function`` (see ``workers.job.RunJob``).

    Raises:
        UserError: the groups cannot fit the cluster.
    """

    def __init__(
        self,
        workers: int | None,
        trials_per_group: str | int,
        max_attempts: int,
        folder: Path,
        address: str | None,
        run_job: str,
    ) -> None:
        self.folder = folder
        self._asked_workers, self._trials_per_group = workers, trials_per_group
        self._max_attempts, self._address, self._run_job = max_attempts, address, run_job
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.error: str | None = None
        self.logs = ""

    def __enter__(self) -> Engine:
        os.environ.update(quiet_environment())
        own = self._address in (None, "local")
        with _files_for_this_user_alone() if own else nullcontext():
            session = self._connect()
        for name in ("ray", "ray.train", "ray.tune", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.logs = f"{session}/logs" if own else f"{session}/logs on each machine of the cluster"
        try:
            if own:
                Path(session).chmod(0o700)  # Ray opens it to all; what workers print may quote the data
            self._start_groups()
        except BaseException:
            ray.shutdown()
            raise
        return self

    def _connect(self) -> str:
        """Start Ray, or join it; returns the folder that its session has on every machine."""
        try:
            context: Any = ray.init(
                address=self._address or "local",
                namespace=NAMESPACE,
                include_dashboard=None if self._address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                runtime_env={"env_vars": quiet_environment()},
            )
        except ConnectionError:
            if self._address is None:
                raise
            raise UserError(f"--address {self._address}: no Ray cluster answers there") from None
        return str(context.address_info["session_dir"])

    def _start_groups(self) -> None:
        have = ray.cluster_resources()
        gpus, cpus = int(have.get("GPU", 0)), int(have.get("CPU", 0))
        self.device = "GPU" if gpus else "CPU"
        self.workers = self._asked_workers or (gpus or min(2, cpus))
        self.groups = (gpus or cpus) // self.workers
        if self.groups < 1:
            raise UserError(
                f"train.workers: {self.workers} workers need {self.workers} {self.device}s, the cluster has "
                f"{gpus or cpus}; ask for fewer with --workers"
            )
        actor: Any = ray.remote(Broker)
        self.broker = actor.options(name=ACTOR_NAME, num_cpus=0, max_concurrency=1000).remote(
            self._max_attempts
        )
        for slot in range(self.groups):
            thread = threading.Thread(
                target=self._serve_slot, args=(slot,), name=f"group-{slot}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _serve_slot(self, slot: int) -> None:
        """Run groups in a slot, one after another, until the engine closes or none gets anywhere."""
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
        config = {"slot": slot, "jobs": jobs, "run_job": self._run_job}
        return TorchTrainer(
            serve,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if self.device == "GPU" else "gloo"),
            scaling_config=ScalingConfig(num_workers=self.workers, use_gpu=self.device == "GPU"),
            run_config=RunConfig(
                name=f"group-{slot}-{generation}-{os.getpid()}-{time.time_ns()}",
                storage_path=str(self.folder),
                failure_config=FailureConfig(max_failures=0),
            ),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if ray.is_initialized():
            ray.get(self.broker.close.remote())
            for thread in self._threads:
                thread.join(timeout=_CLOSING_SECONDS)
            ray.shutdown()
