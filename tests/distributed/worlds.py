"""What the spawned ranks of the distributed tests do, beyond check_sharded; importable by them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.losses import (
    LabelSets,
    MulSupConLoss,
    SimilarityDissimilarityLoss,
    build_loss,
    cached_backward,
    find_loss,
    named_losses,
)
from sdl_study.testing import flat_gradient, make_encoder, make_inputs, multi_hot_labels
from sdl_study.testing.sharded import NUM_FEATURES

LOSSES: dict[str, Callable[[], nn.Module]] = {
    name: partial(
        build_loss, name, **({"temperature": 0.2} if "temperature" in find_loss(name).settings else {})
    )
    for name in named_losses()
}
LOSSES["mulsupcon per anchor"] = partial(MulSupConLoss, 0.2, per_anchor_mean=True)
LOSSES["sd by weights"] = partial(build_loss, "sd", temperature=0.2, normalizer="weights")
LOSSES["sd small temperature"] = partial(build_loss, "sd", temperature=0.01)
LOSSES["sd learnable temperature"] = partial(build_loss, "sd", temperature=0.2, learnable_temperature=True)

SHARDS = [(9, 9), (9, 4), (8, 8, 3), (7, 7, 7, 2), (64, 0), (128, 128, 1)]
"""The batch shapes of the acceptance list: even, uneven, an empty rank, a rank with one row."""

TWO_VIEW_SHARDS = {1: (14,), 2: (9, 5), 3: (6, 7, 1)}


class Encoder(nn.Module):
    """The test encoder with dropout, normalised; [n, F] → [n, D], or [n, V, F] → [n, V, D]."""

    def __init__(self, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> None:
        super().__init__()
        first, activation, last = make_encoder(dtype).children()
        self.layers = nn.Sequential(first, activation, nn.Dropout(dropout), last)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(inputs), dim=-1)


def _rows(shards: tuple[int, ...], rank: int | None) -> slice:
    return slice(None) if rank is None else slice(sum(shards[:rank]), sum(shards[: rank + 1]))


def views_step(rank: int | None, shards: tuple[int, ...], name: str) -> tuple[float, Tensor]:
    """A step with two views of every sample: of one rank, or (None) of all samples here."""
    inputs = make_inputs(sum(shards) * 2).view(sum(shards), 2, -1)[_rows(shards, rank)]
    labels = multi_hot_labels(shards)[_rows(shards, rank)]
    encoder: nn.Module = Encoder()
    if rank is not None:
        encoder = distributed.data_parallel(encoder)
    loss = LOSSES[name]()(encoder(inputs), LabelSets.from_multi_hot(labels))
    loss.backward()
    return float(loss.detach()), flat_gradient(encoder)


def cached_step(parallel: str, dropout: float, chunk_rows: dict[int, list[int]]) -> tuple[Any, ...]:
    """cached_backward on one rank, and the direct step under DDP: value and gradients of both."""
    rank = distributed.rank()
    counts = [sum(chunk_rows[r]) for r in sorted(chunk_rows)]
    inputs = make_inputs(sum(counts))[_rows(tuple(counts), rank)]
    labels = LabelSets.from_multi_hot(multi_hot_labels([*counts, 0])[_rows(tuple(counts), rank)])
    chunks = list(inputs.split(chunk_rows[rank]))
    answers: list[Any] = []
    for cached in (True, False):
        loss = SimilarityDissimilarityLoss(0.2, learnable_temperature=True).double()
        shard = distributed.fully_sharded if cached and parallel == "fsdp" else distributed.data_parallel
        encoder = shard(Encoder(dropout=dropout))
        torch.manual_seed(40 + rank)
        if cached:
            value = cached_backward(encoder, chunks, labels, loss)
        else:
            value = loss(torch.cat([encoder(chunk) for chunk in chunks]), labels)
            value.backward()
        assert loss.log_temperature is not None
        slope = loss.log_temperature.grad
        assert slope is not None
        if not cached:
            slope = distributed.all_reduce_sum(slope) / distributed.world_size()
        random_state = float(torch.rand(()))
        answers += [float(value.detach()), flat_gradient(encoder), float(slope), random_state]
    return tuple(answers)


def half_step(rank: int | None, shards: tuple[int, ...]) -> tuple[float, Tensor]:
    """bfloat16 embeddings of one rank or of all."""
    rows = make_inputs(sum(shards)).to(torch.bfloat16)[_rows(shards, rank)].requires_grad_()
    labels = multi_hot_labels(shards)[_rows(shards, rank)]
    loss = SimilarityDissimilarityLoss(0.5, gradient_reduction="sum")(rows, labels)
    loss.backward()
    assert rows.grad is not None
    return float(loss.detach()), rows.grad.double()


def bad_input(name: str, case: str) -> str:
    """Only the last rank's input is wrong (in "nan and length" the first's too); every rank tells what it was told."""
    wrong = distributed.rank() == distributed.world_size() - 1
    embeddings, labels = make_inputs(4), multi_hot_labels([4], NUM_FEATURES)
    if case == "nan and length":
        labels = labels[:3] if distributed.rank() == 0 else labels
        case = "nan"
    if wrong and case == "nan":
        embeddings[2, 1] = float("nan")
    if wrong and case == "length":
        labels = labels[:3]
    if wrong and case == "dtype":
        embeddings = embeddings.long()
    if wrong and case in ("width", "both"):
        embeddings = embeddings[:, :3]
    if wrong and case in ("labels", "both"):
        labels = labels[:, :3]
    if wrong and case == "kind":
        labels = labels.tolist()
    try:
        build_loss(name)(embeddings, labels)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def diagnostics(rank: int | None, shards: tuple[int, ...], name: str) -> dict[str, float]:
    loss: Any = LOSSES[name]()
    rows = _rows(shards, rank)
    return loss.diagnostics(make_inputs(sum(shards))[rows], multi_hot_labels(shards)[rows]).flat()


def subgroup() -> tuple[float, float]:
    """Two of three ranks share a batch in their own group, the third computes alone."""
    import torch.distributed as dist

    pair = dist.new_group([0, 1])
    inputs, labels = make_inputs(8), multi_hot_labels([8])
    if distributed.rank() == 2:
        alone = build_loss("sd", temperature=0.2, distributed=False)(inputs, labels)
        return float(alone), float(
            build_loss("sd", temperature=0.2, distributed=False)(inputs[:5], labels[:5])
        )
    rows = _rows((5, 3), distributed.rank())
    shared = build_loss("sd", temperature=0.2, process_group=pair)(inputs[rows], labels[rows])
    return float(shared), float(build_loss("sd", temperature=0.2, distributed=False)(inputs[:5], labels[:5]))


BAD_CASES = ("nan", "length", "dtype", "width", "labels", "both", "kind", "nan and length")
BAD_NAMES = ("sd", "bce")
VIEW_NAMES = ("sd", "mulsupcon", "all", "random_weights")
CHUNKS = {2: {0: [4, 3, 2], 1: [5]}, 3: {0: [3, 3], 1: [4], 2: [0, 2]}}


def everything() -> dict[str, Any]:
    """All that one world is asked for, in one start of its processes."""
    rank, world = distributed.rank(), distributed.world_size()
    answers: dict[str, Any] = {"pid": os.getpid(), "world": world, "backend": "gloo"}
    shards = TWO_VIEW_SHARDS[world]
    for name in VIEW_NAMES:
        answers[f"views/{name}"] = views_step(rank, shards, name)
    for parallel in ("ddp", "fsdp"):
        for dropout in (0.0, 0.3):
            answers[f"cached/{parallel}/{dropout}"] = cached_step(parallel, dropout, CHUNKS[world])
    answers["half"] = half_step(rank, shards)
    for name in BAD_NAMES:
        for case in BAD_CASES:
            answers[f"bad/{name}/{case}"] = bad_input(name, case)
    for name in ("sd", "all", "mulsupcon"):
        answers[f"diagnostics/{name}"] = diagnostics(rank, shards, name)
    if world == 3:
        answers["subgroup"] = subgroup()
    return answers
