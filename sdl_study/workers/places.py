"""Where worker groups go: how many workers each has, how many groups fit, and whether one may cross machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sdl_study.errors import UserError

Fewest = Callable[[float], int]
"""GPUs that a trial needs, by the bytes of the smallest one's memory."""


Strategy = Literal["STRICT_PACK", "PACK", "SPREAD"]
"""Ray's names."""


class NoPlace(UserError):
    """No group fits the machines that are there.

    Attributes:
        needs: what a group claims, in words.
    """

    def __init__(self, text: str, needs: str) -> None:
        super().__init__(text)
        self.needs = needs


@dataclass(frozen=True)
class Places:
    """The groups of a cluster.

    Attributes:
        device: what a worker claims one of.
        workers: of a group.
        groups: that fit at the same time.
        strategy: how Ray places a group's workers: on one machine; across machines where they were asked for and no
            machine has as many; or on as many machines as there are, where that was asked for.
        per_gpu: groups of one worker that share a GPU.
        may_cross: whether a group may lie across machines.
    """

    device: Literal["GPU", "CPU"]
    workers: int
    groups: int
    strategy: Strategy
    per_gpu: int = 1
    may_cross: bool = field(default=False, compare=False)

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What a group claims, worker by worker."""
        one = {"CPU": 1.0} if self.device == "CPU" else {"CPU": 1.0, "GPU": 1 / self.per_gpu}
        return [one] * self.workers

    @property
    def need(self) -> str:
        """What a group claims, in words."""
        where = " on one machine" if self.workers > 1 and self.strategy == "STRICT_PACK" else ""
        return f"1/{self.per_gpu} GPU" if self.per_gpu > 1 else f"{counted(self.workers, self.device)}{where}"

    def recounted(self, cluster: Cluster) -> Places:
        """The same groups on a cluster that has grown or shrunk; none where none fits any more."""
        of_nodes = cluster.gpus if self.device == "GPU" else cluster.cpus
        strategy, groups = _fitting(self.workers, of_nodes, self.may_cross, self.strategy == "SPREAD")
        return replace(self, groups=self.per_gpu * groups, strategy=strategy)


@dataclass(frozen=True)
class Cluster:
    """What its machines have.

    Attributes:
        gpus, cpus: of each.
        memory: bytes of the smallest GPU, by the first of each machine; 0 without GPUs.
    """

    gpus: tuple[int, ...]
    cpus: tuple[int, ...]
    memory: float

    @classmethod
    def joined(cls, memory: float | None = None) -> Cluster:
        """The one that this process is connected to.

        Args:
            memory: as the attribute; None asks the machines for it.
        """
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus, cpus = (
            tuple(int(node["Resources"].get(device, 0)) for node in nodes) for device in ("GPU", "CPU")
        )
        if memory is None:
            memory = _smallest_memory(nodes) if any(gpus) else 0.0
        return cls(gpus, cpus, memory)

    @classmethod
    def here(cls) -> Cluster:
        """This machine, as a Ray that is started on it would count it."""
        gpus = torch.cuda.device_count()
        memory = float(torch.cuda.get_device_properties(0).total_memory) if gpus else 0.0
        return cls((gpus,), (len(os.sched_getaffinity(0)),), memory)

    @property
    def words(self) -> str:
        """What there is, in words."""
        counts = [(sum(self.gpus), "GPU")] if any(self.gpus) else []
        parts = [counted(count, device) for count, device in (*counts, (sum(self.cpus), "CPU"))]
        return f"{counted(len(self.cpus), 'machine')} with {' and '.join(parts)}"

    def places(self, asked: int | None, fewest: Fewest, per_gpu: int = 1, spread: bool = False) -> Places:
        """The groups that fit.

        Args:
            asked: workers of a group; None: on GPUs the fewest on which a trial fits, else min(2, CPUs of a machine).
            fewest: asked for only where there are GPUs and nobody says how many.
            per_gpu: groups that share a GPU; nothing on CPUs.
            spread: whether the workers that are asked for go to as many machines as there are.

        Raises:
            NoPlace: the groups do not fit the cluster.
            UserError: what ``fewest`` raises.
        """
        if any(self.gpus) and per_gpu > 1:
            return self._shared(asked or fewest(self.memory / per_gpu), per_gpu)
        if any(self.gpus):
            return _placed("GPU", asked or fewest(self.memory), self.gpus, asked is not None, spread)
        few = max(1, min(2, max(self.cpus, default=0)))
        return _placed("CPU", asked or few, self.cpus, asked is not None, spread)

    def _shared(self, workers: int, per_gpu: int) -> Places:
        if workers > 1:
            raise UserError(
                f"train.trials_per_gpu: a trial does not fit a {per_gpu}th part of a GPU's memory; let fewer share one"
            )
        return Places("GPU", 1, per_gpu * sum(self.gpus), "STRICT_PACK", per_gpu)


def counted(count: int, word: str) -> str:
    """A number of things in words."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def _fitting(workers: int, of_nodes: Sequence[int], may_cross: bool, spread: bool) -> tuple[Strategy, int]:
    """How groups are placed on machines, and how many fit."""
    across = sum(of_nodes) // workers
    if spread:
        return "SPREAD", across
    whole = sum(count // workers for count in of_nodes)
    return ("PACK", across) if may_cross and not whole else ("STRICT_PACK", whole)


def _placed(
    device: Literal["GPU", "CPU"], workers: int, of_nodes: Sequence[int], was_asked: bool, spread: bool
) -> Places:
    strategy, groups = _fitting(workers, of_nodes, was_asked, spread and was_asked)
    if groups:
        return Places(device, workers, groups, strategy, may_cross=was_asked)
    needs = counted(workers, device)
    if sum(of_nodes) >= workers:
        raise NoPlace(
            f"train.workers: a trial needs {needs}, no machine of the cluster has more than "
            f"{max(of_nodes)}; ask for them across machines with --workers {workers}",
            f"{needs} on one machine",
        )
    raise NoPlace(
        f"train.workers: {counted(workers, 'worker')} need{'' if workers > 1 else 's'} {needs}, the cluster has "
        f"{sum(of_nodes)}; ask for fewer with --workers",
        needs,
    )


def _smallest_memory(nodes: Sequence[dict[str, Any]]) -> float:
    """Bytes of the smallest GPU; one of each machine is asked, whose GPUs are taken to be alike.

    They may all be another study's, so none is claimed; the process that looks ends then, for it has seen them all.
    """
    ask = ray.remote(num_cpus=0, max_calls=1)(_memory)
    answers = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
        if node["Resources"].get("GPU", 0) >= 1
    ]
    return min(ray.get(answers))


def _memory() -> float:
    os.environ.pop(
        "CUDA_VISIBLE_DEVICES", None
    )  # empty where no GPU is claimed; read when CUDA is first used
    return float(torch.cuda.get_device_properties(0).total_memory)
