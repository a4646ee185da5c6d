"""Where worker groups go: how many workers each has, how many groups fit, and whether one may cross machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sdl_study.errors import UserError

Fewest = Callable[[float], int]
"""GPUs that a trial needs, by the bytes of the smallest one's memory."""


@dataclass(frozen=True)
class Places:
    """The groups of a cluster.

    Attributes:
        device: what a worker claims one of.
        workers: of a group.
        groups: that fit at the same time.
        strategy: how Ray places a group's workers: on one machine, or across machines where they were asked for and
            no machine has as many.
        per_gpu: groups of one worker that share a GPU.
    """

    device: Literal["GPU", "CPU"]
    workers: int
    groups: int
    strategy: Literal["STRICT_PACK", "PACK"]
    per_gpu: int = 1


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
    def joined(cls) -> Cluster:
        """The one that this process is connected to, before its GPUs are taken."""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus, cpus = (
            tuple(int(node["Resources"].get(device, 0)) for node in nodes) for device in ("GPU", "CPU")
        )
        return cls(gpus, cpus, _smallest_memory(nodes) if any(gpus) else 0.0)

    def places(self, asked: int | None, fewest: Fewest, per_gpu: int = 1) -> Places:
        """The groups that fit.

        Args:
            asked: workers of a group; None: on GPUs the fewest on which a trial fits, else min(2, CPUs of a machine).
            fewest: asked for only where there are GPUs and nobody says how many.
            per_gpu: groups that share a GPU; nothing on CPUs.

        Raises:
            UserError: the groups do not fit the cluster; and what ``fewest`` raises.
        """
        if any(self.gpus) and per_gpu > 1:
            return self._shared(asked or fewest(self.memory / per_gpu), per_gpu)
        if any(self.gpus):
            return _placed("GPU", asked or fewest(self.memory), self.gpus, asked is not None)
        return _placed(
            "CPU", asked or max(1, min(2, max(self.cpus, default=0))), self.cpus, asked is not None
        )

    def _shared(self, workers: int, per_gpu: int) -> Places:
        if workers > 1:
            raise UserError(
                f"train.trials_per_gpu: a trial does not fit a {per_gpu}th part of a GPU's memory; let fewer share one"
            )
        return Places("GPU", 1, per_gpu * sum(self.gpus), "STRICT_PACK", per_gpu)


def _placed(device: Literal["GPU", "CPU"], workers: int, of_nodes: Sequence[int], was_asked: bool) -> Places:
    whole = sum(count // workers for count in of_nodes)
    if whole:
        return Places(device, workers, whole, "STRICT_PACK")
    across = sum(of_nodes) // workers
    if across and was_asked:
        return Places(device, workers, across, "PACK")
    if across:
        raise UserError(
            f"train.workers: a trial needs {workers} {device}s, no machine of the cluster has more than "
            f"{max(of_nodes)}; ask for them across machines with --workers {workers}"
        )
    raise UserError(
        f"train.workers: {workers} workers need {workers} {device}s, the cluster has {sum(of_nodes)}; ask for fewer "
        "with --workers"
    )


def _smallest_memory(nodes: Sequence[dict[str, Any]]) -> float:
    """Bytes of the smallest GPU; one of each machine is asked, whose GPUs are taken to be alike."""
    ask = ray.remote(num_cpus=0, num_gpus=1)(_memory)
    answers = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
        if node["Resources"].get("GPU", 0) >= 1
    ]
    return min(ray.get(answers))


def _memory() -> float:
    return float(torch.cuda.get_device_properties(0).total_memory)
