"""Rank, world size, uneven gathers and sums: the only file that imports torch.distributed.

Every function also works, trivially, in a process that never initialised torch.distributed: one rank, whose
rows are all rows. ``group`` is a process group, or None for the default one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

ProcessGroup: TypeAlias = "dist.ProcessGroup"
T = TypeVar("T")


class PeerRaised(Exception):
    """Another rank's share of a common work raised.

    Attributes:
        expected: whether all that was raised anywhere was of the kinds that ``together`` was told to expect.
    """

    def __init__(self, expected: bool) -> None:
        super().__init__("another rank raised")
        self.expected = expected


def is_initialized() -> bool:
    """Whether this process belongs to an initialised torch.distributed world."""
    return dist.is_available() and dist.is_initialized()


def rank(group: ProcessGroup | None = None) -> int:
    """This process's rank in ``group``; 0 without torch.distributed."""
    return dist.get_rank(group) if is_initialized() else 0


def world_size(group: ProcessGroup | None = None) -> int:
    """Number of processes in ``group``; 1 without torch.distributed."""
    return dist.get_world_size(group) if is_initialized() else 1


def communication_device(group: ProcessGroup | None = None) -> torch.device:
    """The device on which ``group`` exchanges small tensors: the current CUDA device for NCCL, else the CPU."""
    if is_initialized() and "nccl" in str(dist.get_backend(group)):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def all_gather_same(values: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """Stack one tensor of the same shape from every rank: [...] on each rank → [W, ...], without autograd."""
    if world_size(group) == 1:
        return values.detach().unsqueeze(0)
    device = communication_device(group)
    local = values.detach().to(device).contiguous()
    gathered = local.new_empty((world_size(group), *local.shape))
    dist.all_gather(list(gathered.unbind()), local, group=group)
    return gathered.to(values.device)


def row_counts(num_rows: int, group: ProcessGroup | None = None) -> list[int]:
    """How many rows each rank holds, in rank order."""
    return [int(n) for n in all_gather_same(torch.tensor([num_rows]), group).flatten().tolist()]


def all_gather_rows(
    rows: Tensor, group: ProcessGroup | None = None, counts: Sequence[int] | None = None
) -> Tensor:
    """Concatenate the rows of all ranks in rank order, without autograd; ranks may hold different numbers.

    Args:
        rows: [n_r, ...]; n_r may be 0 and may differ between ranks, the other sizes and the dtype may not.
        counts: the n_r of all ranks where they are known already, which saves one exchange.

    Returns:
        [Σ n_r, ...] on the device of ``rows``.
    """
    if world_size(group) == 1:
        return rows.detach()
    counts = list(counts) if counts is not None else row_counts(rows.shape[0], group)
    longest = max(counts)
    if longest == 0:
        return rows.detach()
    device = communication_device(group)
    local = rows.detach().to(device)
    if local.shape[0] < longest:  # gloo gathers equal sizes only
        padding = local.new_zeros((longest - local.shape[0], *local.shape[1:]))
        local = torch.cat([local, padding])
    gathered = local.new_empty((longest * len(counts), *local.shape[1:]))
    dist.all_gather(list(gathered.split(longest)), local.contiguous(), group=group)
    if min(counts) < longest:
        gathered = torch.cat([gathered[r * longest : r * longest + n] for r, n in enumerate(counts)])
    return gathered.to(rows.device)


def all_reduce_sum(values: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """The sum over ranks of a tensor of one shape, as a new tensor, without autograd."""
    total = values.detach().to(communication_device(group), copy=True)
    if world_size(group) > 1:
        dist.all_reduce(total, group=group)
    return total.to(values.device)


@contextmanager
def process_group(
    backend: str, rank: int, world_size: int, init_file: str, timeout_seconds: float = 60.0
) -> Iterator[None]:
    """Join a world of ``world_size`` processes that meet at the file ``init_file``, and leave it at the end."""
    dist.init_process_group(
        backend,
        init_method=f"file://{init_file}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout_seconds),
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def data_parallel(model: torch.nn.Module) -> torch.nn.Module:
    """DistributedDataParallel over the default group; the model itself where there is one process.

    Buffers are not sent in every step: they are equal on all ranks and stay so.
    """
    if world_size() == 1:
        return model
    device = next(model.parameters()).device
    parallel: Any = torch.nn.parallel.DistributedDataParallel
    known = inspect.signature(parallel).parameters
    name = (
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    )  # before torch 2.13
    return parallel(model, device_ids=[device.index] if device.type == "cuda" else None, **{name: False})


def fully_sharded(model: torch.nn.Module) -> torch.nn.Module:
    """FSDP2 over the default group: blocks (what stands in a list of modules), children, then the model itself."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(communication_device().type, (world_size(),))
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = [block for blocks in reversed(lists) for block in blocks]  # the inner ones first
    for part in dict.fromkeys([*blocks, *model.children()]):
        if next(part.parameters(), None) is not None and not isinstance(part, torch.nn.ModuleList):
            fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@contextmanager
def whole_weights(model: torch.nn.Module) -> Iterator[None]:
    """Within the block every rank has all weights of a model that FSDP2 may have sharded: no forward pass is a
    collective there, and the weights can be read as those of any model."""
    parts: list[Any] = [module for module in model.modules() if hasattr(module, "set_reshard_after_forward")]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


@contextmanager
def synchronised(module: Any, last: bool) -> Iterator[None]:
    """Let DDP or FSDP2 exchange gradients in this forward and backward pass only if it is the last of a step."""
    fsdp, ddp = (getattr(module, name, None) for name in ("set_requires_gradient_sync", "no_sync"))
    if fsdp is not None:
        fsdp(last)
        try:
            yield
        finally:
            fsdp(True)
    elif ddp is not None and not last:
        with ddp():
            yield
    else:
        yield


def full_tensor(values: Tensor) -> Tensor:
    """The whole of a tensor that FSDP2 may hold in shards (a collective then); any other tensor as it is."""
    gather = getattr(values, "full_tensor", None)  # DTensor's own; importing its class takes a second
    return values if gather is None else gather()


def is_sharded(values: Tensor) -> bool:
    """Whether FSDP2 holds a tensor in shards."""
    return hasattr(values, "device_mesh")


def gathered(state: Any) -> Any:
    """A state dict with whole tensors, on every rank, whatever FSDP2 shards (a collective then)."""
    if isinstance(state, dict):
        return {name: gathered(value) for name, value in state.items()}
    if isinstance(state, list):
        return [gathered(value) for value in state]
    return full_tensor(state) if isinstance(state, Tensor) else state


def laid_out_as(values: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a whole tensor where ``like`` is sharded by FSDP2; else the tensor itself."""
    if not is_sharded(like):
        return values
    from torch.distributed.tensor import distribute_tensor

    layout: Any = like
    return distribute_tensor(
        values.to(like.device), layout.device_mesh, layout.placements, src_data_rank=None
    )


def object_channel() -> ProcessGroup | None:
    """A gloo group of all ranks for decisions and small objects, so that an idle rank never waits in NCCL."""
    return cast("ProcessGroup", dist.new_group(backend="gloo")) if world_size() > 1 else None


def broadcast_object(value: Any, group: ProcessGroup | None = None) -> Any:
    """Rank 0's object on every rank; the value given by the other ranks is not looked at."""
    if world_size(group) == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group)
    return box[0]


def gather_objects(value: Any, group: ProcessGroup | None = None) -> list[Any]:
    """Every rank's object, in rank order, on every rank."""
    if world_size(group) == 1:
        return [value]
    box: list[Any] = [None] * world_size(group)
    dist.all_gather_object(box, value, group=group)
    return box


def together(
    share: Callable[[], T], expected: tuple[type[Exception], ...] = (), group: ProcessGroup | None = None
) -> T:
    """Do this rank's share of a common work, in which there is no collective.

    All ranks learn whether any raised before one goes on, so that none waits in a collective for one that is gone.

    Args:
        share: the work of this rank.
        expected: kinds of exceptions that all ranks are to treat alike.

    Raises:
        Exception: what this rank's share raised.
        PeerRaised: this rank's did not, but another's.
    """
    error, value = None, None
    try:
        value = share()
    except Exception as caught:  # noqa: BLE001 (raised again below, when the others know)
        error = caught
    raised, surprise = error is not None, error is not None and not isinstance(error, expected)
    states = all_gather_same(torch.tensor([raised, surprise]), group)
    if error is not None:
        raise error
    if bool(states.any()):
        raise PeerRaised(expected=not bool(states[:, 1].any()))
    return cast("T", value)


def is_peer_failure(error: BaseException) -> bool:
    """Whether an exception says that another rank went away, not that this one did something wrong."""
    if isinstance(error, dist.DistError | PeerRaised):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("gloo/transport", "gloo/", "NCCL")
    )
