"""One worker group over all machines: its ranks add a tensor up, as they do with gradients, and it is timed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from sdl_study import distributed
from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.workers.network import GroupTorchConfig
from sdl_study.workers.probe.answers import read_shared

_BYTES = 32 << 20
_TIMES = 5
_FOUND = "found.json"


@dataclass(frozen=True)
class Bandwidth:
    """What an all-reduce came to.

    Attributes:
        ranks, machines: that took part.
        backend: nccl or gloo.
        seconds: of one, the median of several.
        per_second: bytes that each link carried, 2(W-1)/W times the tensor's, in a second.
    """

    ranks: int
    machines: int
    backend: str
    seconds: float
    per_second: float


def measure(folder: Path) -> Bandwidth:
    """Let a rank on every GPU, or without GPUs one on every machine with a CPU, take part in all-reduces of 32 MiB.

    Args:
        folder: that all machines see: Ray Train keeps its files there, and rank 0 writes what it found.

    Raises:
        UserError: the ranks do not come together, or what they add up is wrong.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [int(resources.get("GPU", 0)) for resources in nodes]
    machines = [node for node in nodes if node.get("GPU" if any(gpus) else "CPU", 0) >= 1]
    ranks = sum(gpus) or len(machines)
    if not ranks:
        raise UserError("the cluster has no machine with a GPU or a CPU to hand out")
    backend = "nccl" if any(gpus) else "gloo"
    trainer = TorchTrainer(
        _add_up,
        train_loop_config={"folder": str(folder)},
        torch_config=GroupTorchConfig(backend=backend),
        scaling_config=ScalingConfig(
            num_workers=ranks, use_gpu=any(gpus), placement_strategy="PACK" if any(gpus) else "SPREAD"
        ),
        run_config=RunConfig(
            name=f"check-{time.time_ns()}",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 (a group may end by anything)
        raise UserError(
            f"{ranks} ranks on {len(machines)} machines do not add up a tensor ({backend}, {type(error).__name__}): "
            "the machines of a cluster need all TCP ports between them"
        ) from None
    found: dict[str, Any] = json.loads(read_shared(folder / _FOUND))
    if not found["right"]:
        raise UserError(f"{ranks} ranks add up a tensor to a wrong sum ({backend})")
    per_second = 2 * (ranks - 1) / ranks * _BYTES / found["seconds"]
    return Bandwidth(ranks, int(found["machines"]), backend, found["seconds"], per_second)


def _add_up(config: dict[str, str]) -> None:
    """What a rank does."""
    device, ranks = get_device(), distributed.world_size()
    values = torch.full((_BYTES // 4,), 1.0 + distributed.rank(), device=device)
    total = distributed.all_reduce_sum(values)
    right = bool((total == ranks * (ranks + 1) / 2).all())
    seconds = sorted(_timed(values) for _ in range(_TIMES))[_TIMES // 2]
    node = torch.tensor(list(bytes.fromhex(ray.get_runtime_context().get_node_id())))
    machines = len({tuple(row) for row in distributed.all_gather_same(node).tolist()})
    if distributed.rank() == 0:  # Ray Train keeps no metrics that come without a checkpoint
        found = {"seconds": seconds, "right": right, "machines": machines}
        write_json(Path(config["folder"]) / _FOUND, found)


def _timed(values: torch.Tensor) -> float:
    started = time.perf_counter()
    distributed.all_reduce_sum(values)
    if values.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
