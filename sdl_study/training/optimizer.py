"""The optimizer of all arms and its learning-rate schedule: AdamW, a linear warm-up, then a cosine to zero.

Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, arXiv 1711.05101. Layer-wise decay of the
learning rate: Clark et al. 2020, ELECTRA, arXiv 2003.10555, table 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from sdl_study import distributed
from sdl_study.config import TrainSettings


def build_optimizer(model: nn.Module, train: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; a frozen encoder's are not."""
    one_by_one = (
        False if train.parallel == "fsdp" else None
    )  # torch updates no mixture of shards and whole tensors
    return torch.optim.AdamW(
        parameter_groups(model, train),
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
        foreach=one_by_one,
    )


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradients of all parameters, sharded or whole, so that their norm is ``most`` at most."""
    given = [parameter for parameter in parameters if parameter.grad is not None]
    sharded = [parameter for parameter in given if distributed.is_sharded(parameter)]
    whole = [parameter for parameter in given if not distributed.is_sharded(parameter)]
    if not sharded:
        nn.utils.clip_grad_norm_(whole, most)
        return
    norms = [
        distributed.full_tensor(nn.utils.get_total_norm([p.grad for p in some if p.grad is not None]))
        for some in (sharded, whole)
        if some
    ]
    total = torch.stack(norms).norm()
    for some in (sharded, whole):
        nn.utils.clip_grads_with_norm_(some, most, total, foreach=False)


def parameter_groups(model: nn.Module, train: TrainSettings) -> list[dict[str, Any]]:
    """The trained parameters of a model with ``encoder`` and ``head``, one group per learning rate and weight decay.

    Args:
        model: a head's parameters are those below ``head``; where the encoder tells the depth of its own
            (``layer_of``), ``train.layer_decay`` goes by it.
        train: without settings that tell parameters apart there is one group.
    """
    depths = _depths(getattr(model, "encoder", None), train)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, owner in _trained(model):
        rate = train.learning_rate
        if name.startswith("head."):
            rate = train.head_learning_rate or rate
        elif name in depths:
            rate *= train.layer_decay ** (max(depths.values()) - depths[name])
        decay = train.weight_decay if train.decay_all or is_decayed(owner, parameter) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def is_decayed(owner: nn.Module, parameter: nn.Parameter) -> bool:
    """Whether weight decay belongs on a parameter: on matrices and kernels, not on norms, biases and embeddings.

    Tokens and positions that stand for every example alike ([1, n, width]) are embeddings too.
    """
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag) or parameter.ndim < 2:
        return False
    return parameter.ndim == 2 or parameter.shape[0] > 1


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Name, parameter and the module that owns it, each parameter once."""
    owners = {
        id(parameter): module for module in model.modules() for parameter in module.parameters(recurse=False)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter, owners[id(parameter)]


def _depths(encoder: nn.Module | None, train: TrainSettings) -> dict[str, int]:
    """Depth of every parameter of the encoder, by its name in the model; empty where nothing depends on it."""
    layer_of: Callable[[str], int] | None = getattr(encoder, "layer_of", None)
    if train.layer_decay == 1.0 or encoder is None or layer_of is None:
        return {}
    return {f"encoder.{name}": layer_of(name) for name, _ in encoder.named_parameters()}


def warmup_then_cosine(
    optimizer: torch.optim.Optimizer, steps: int, warmup_fraction: float
) -> lr_scheduler.LRScheduler:
    """The learning rate over a whole training of ``steps`` updates."""
    warmup = max(1, round(warmup_fraction * steps))
    rise = lr_scheduler.LinearLR(optimizer, 1.0 / warmup, 1.0, total_iters=warmup)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
