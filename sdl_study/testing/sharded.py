"""Does a loss mean the same thing on several processes as on one? Asked in real processes.

    from sdl_study.testing import check_sharded
    print(check_sharded(MyLoss))           # MyLoss() is an nn.Module: loss(embeddings, labels)

Data-parallel training averages parameter gradients over ranks, so a contrastive loss that compares rows of other
ranks is easily wrong by a factor, or blind to what those rows owe it, while every test on one process passes.
``check_sharded`` trains one step of a small encoder under DistributedDataParallel or FSDP2 on gloo, once per
shape of shards, and compares the loss and the parameter gradients with one process that holds all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.testing.processes import ProcessFailure, run_processes

if TYPE_CHECKING:
    from jaxtyping import Float, Num

LossFactory = Callable[[], nn.Module]
LabelFactory = Callable[[Sequence[int]], Tensor]

NUM_FEATURES, EMBEDDING_SIZE, NUM_LABELS = 5, 6, 7


def multi_hot_labels(shards: Sequence[int], num_labels: int = NUM_LABELS) -> Float[Tensor, "N L"]:
    """Label sets for one batch, equal ones among them; row 1 and the last of several ranks have no labels."""
    generator = torch.Generator().manual_seed(sum(shards))
    labels = (torch.rand((sum(shards), num_labels), generator=generator) < 0.3).double()
    labels[2::4] = labels[0::4][: len(labels[2::4])]  # equal sets, so that every loss has positives
    labels[1:2] = 0
    if len(shards) > 1 and shards[-1] > 0:
        labels[-shards[-1] :] = 0
    return labels


def single_labels(shards: Sequence[int], num_labels: int = 3) -> Num[Tensor, " N"]:
    """One label index per row, for losses that know no label sets."""
    return torch.arange(sum(shards)) % num_labels


@dataclass(frozen=True)
class ShardedCase:
    """One line of a report.

    Attributes:
        name: of the loss.
        shards: rows per rank.
        loss_error: largest |loss − reference| over ranks, relative to the reference.
        gradient_error: ‖g − reference‖/‖reference‖ of all parameter gradients, largest over ranks.
        problem: what went wrong where the loss gave no answer, else None.
    """

    name: str
    shards: tuple[int, ...]
    loss_error: float
    gradient_error: float
    problem: str | None = None

    def is_exact(self, tolerance: float) -> bool:
        """Whether both errors stay within the tolerance."""
        return self.problem is None and max(self.loss_error, self.gradient_error) <= tolerance


@dataclass(frozen=True)
class ShardedReport:
    """All cases of a check; ``str(report)`` is a table."""

    cases: tuple[ShardedCase, ...]
    tolerance: float

    def exact(self, name: str | None = None) -> bool:
        """Whether every case (of one loss) is exact within the tolerance."""
        chosen = [case for case in self.cases if name is None or case.name == name]
        if not chosen:
            raise ValueError(f"no case is named {name!r}")
        return all(case.is_exact(self.tolerance) for case in chosen)

    def require_exact(self) -> None:
        """Raise AssertionError with the table unless every case is exact."""
        if not self.exact():
            raise AssertionError(
                f"sharded loss differs from one process (tolerance {self.tolerance:g})\n{self}"
            )

    def __str__(self) -> str:
        width = max(len(case.name) for case in self.cases)
        lines = [f"{'loss':<{width}}  {'shards':<16} {'loss error':>11} {'gradient error':>15}"]
        for case in self.cases:
            shards = "[" + ",".join(map(str, case.shards)) + "]"
            told = f"{case.loss_error:>11.1e} {case.gradient_error:>15.1e}"
            if case.problem is not None:
                told = case.problem.splitlines()[0][:70]
            elif not case.is_exact(self.tolerance):
                told += "  not exact"
            lines.append(f"{case.name:<{width}}  {shards:<16} {told}")
        return "\n".join(lines)


def default_shards(world_size: int) -> list[tuple[int, ...]]:
    """Even, uneven and (with several ranks) one empty shard."""
    if world_size == 1:
        return [(12,)]
    uneven = (9, *(4 + r for r in range(world_size - 2)), 3)
    return [(6,) * world_size, uneven, (*(7,) * (world_size - 1), 0)]


def check_sharded(
    loss_factory: LossFactory | Mapping[str, LossFactory],
    world_sizes: Sequence[int] = (1, 2, 3),
    shards: Sequence[Sequence[int]] | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    labels: LabelFactory = multi_hot_labels,
    parallel: Literal["ddp", "fsdp"] = "ddp",
    tolerance: float | None = None,
    timeout_seconds: float = 120.0,
) -> ShardedReport:
    """Compare a contrastive loss on several real processes with itself on one.

    Args:
        loss_factory: makes the loss, called without arguments in every process, so it must be importable (a
            class, a module-level function, or functools.partial of one). The loss is an nn.Module called as
            ``loss(embeddings, labels)``; its own parameters are trained and compared too. A mapping checks several
            losses with the same processes.
        world_sizes: numbers of processes.
        shards: rows per rank, one sequence per batch shape; those whose length is in ``world_sizes`` are used.
            None takes even, uneven and one empty shard for each world size.
        dtype: of encoder and embeddings.
        labels: makes the labels of a whole batch from its shards; each rank gets its rows.
        parallel: "ddp" or "fsdp" (FSDP2, ``fully_shard``).
        tolerance: largest relative error that counts as exact; default 1e-12 in float64, else 1e-5.
        timeout_seconds: for one world once its processes have started; a loss that hangs is reported, and the
            next case goes on.

    Returns:
        A ``ShardedReport``: print it, or ``.require_exact()``.

    Raises:
        ValueError: no batch shape has a length in ``world_sizes``.
    """
    factories = loss_factory if isinstance(loss_factory, Mapping) else {_name_of(loss_factory): loss_factory}
    shapes = [tuple(s) for s in shards] if shards is not None else []
    if shards is None:
        shapes = [shape for world in world_sizes for shape in default_shards(world)]
    shapes = [shape for shape in shapes if len(shape) in world_sizes]
    if not shapes:
        raise ValueError(f"no entry of shards {shards} has a length in world_sizes {tuple(world_sizes)}")
    cases: list[ShardedCase] = []
    for world in world_sizes:
        tasks = [(name, shape) for shape in shapes if len(shape) == world for name in factories]
        cases += _check_world(world, tasks, dict(factories), (dtype, labels, parallel), timeout_seconds)
    limit = tolerance if tolerance is not None else (1e-12 if dtype == torch.float64 else 1e-5)
    return ShardedReport(tuple(cases), limit)


def _name_of(factory: LossFactory) -> str:
    target = getattr(factory, "func", factory)
    return getattr(target, "__name__", type(target).__name__)


def _check_world(
    world_size: int,
    tasks: list[tuple[str, tuple[int, ...]]],
    factories: dict[str, LossFactory],
    settings: tuple[torch.dtype, LabelFactory, str],
    timeout_seconds: float,
) -> list[ShardedCase]:
    """All tasks of one world size in one set of processes; after a failure each half is tried in its own."""
    if not tasks:
        return []
    try:
        answers = run_processes(
            _steps, world_size, tasks, factories, settings, timeout_seconds=timeout_seconds
        )
    except ProcessFailure as failure:
        if len(tasks) == 1:
            return [ShardedCase(*tasks[0], float("nan"), float("nan"), str(failure))]
        middle = len(tasks) // 2
        return [
            case
            for part in (tasks[:middle], tasks[middle:])
            for case in _check_world(world_size, part, factories, settings, timeout_seconds)
        ]
    references = [_step(factories[name], shape, None, settings) for name, shape in tasks]
    return [
        _compare(name, shape, references[i], [answer[i] for answer in answers])
        for i, (name, shape) in enumerate(tasks)
    ]


def _compare(
    name: str,
    shape: tuple[int, ...],
    reference: tuple[float, Tensor],
    answers: list[tuple[float, Tensor]],
) -> ShardedCase:
    loss, gradient = reference
    loss_error = max(abs(value - loss) for value, _ in answers) / max(abs(loss), 1e-300)
    scale = max(float(gradient.norm()), 1e-300)
    gradient_error = max(float((g - gradient).norm()) for _, g in answers) / scale
    if not (loss_error == loss_error and gradient_error == gradient_error):
        return ShardedCase(name, shape, loss_error, gradient_error, "NaN in loss or gradient")
    return ShardedCase(name, shape, loss_error, gradient_error)


class _Model(nn.Module):
    """Encoder and loss in one module, so that parameters of the loss are synchronised too."""

    def __init__(self, loss: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder = make_encoder(dtype)
        self.loss = loss.to(dtype)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss(nn.functional.normalize(self.encoder(inputs), dim=1), labels)


def make_encoder(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small seeded encoder [N, 5] → [N, 6], the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return nn.Sequential(nn.Linear(NUM_FEATURES, 16), nn.Tanh(), nn.Linear(16, EMBEDDING_SIZE)).to(dtype)


def make_inputs(num_rows: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "N 5"]:
    """Seeded inputs of a global batch."""
    generator = torch.Generator().manual_seed(100 + num_rows)
    return torch.randn((num_rows, NUM_FEATURES), generator=generator, dtype=torch.float64).to(dtype)


def _steps(
    tasks: list[tuple[str, tuple[int, ...]]],
    factories: dict[str, LossFactory],
    settings: tuple[torch.dtype, LabelFactory, str],
) -> list[tuple[float, Tensor]]:
    """One rank's loss and gradients of every task."""
    rank = distributed.rank()
    return [_step(factories[name], shape, rank, settings) for name, shape in tasks]


def _step(
    factory: LossFactory,
    shape: tuple[int, ...],
    rank: int | None,
    settings: tuple[torch.dtype, LabelFactory, str],
) -> tuple[float, Tensor]:
    """Forward and backward of one batch: rows of one rank, or (rank None) all rows in this process."""
    dtype, make_labels, parallel = settings
    first = sum(shape[:rank]) if rank is not None else 0
    rows = slice(first, first + shape[rank]) if rank is not None else slice(None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model: nn.Module = _Model(factory(), dtype)
    if rank is not None:
        model = distributed.fully_sharded(model) if parallel == "fsdp" else distributed.data_parallel(model)
    loss = model(make_inputs(sum(shape), dtype)[rows], make_labels(shape)[rows])
    loss.backward()
    return float(loss.detach()), flat_gradient(model)


def flat_gradient(model: nn.Module) -> Float[Tensor, " P"]:
    """All parameter gradients of a model as one float64 vector; shards of FSDP2 are gathered."""
    parts = [
        distributed.full_tensor(p.grad if p.grad is not None else torch.zeros_like(p)).flatten()
        for p in model.parameters()
    ]
    return torch.cat(parts).detach().double()
