"""Low-rank adapters on the linear layers of a pretrained model, through peft.

Source: Hu et al. 2022, LoRA, arXiv 2106.09685; the implementation is that of peft.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from sdl_study.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ALL_LINEAR = "all-linear"
_BASE = "base_layer."  # peft puts it between the name of a layer and those of its own weights


def add_lora(
    model: nn.Module, rank: int, alpha: float, targets: str, trainable: Iterable[str], place: str
) -> None:
    """Put adapters on linear layers, in place; they alone are trained, and begin by changing nothing.

    Args:
        targets: ``all-linear``, or last parts of layers' names with commas between them (``q_proj,v_proj``).
        trainable: names of the parameters that may be adapted.
        place: the model, for the message.

    Raises:
        UserError: no such layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    chosen = check_targets(model, targets, trainable, place)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen), model)  # type: ignore[arg-type]


def check_targets(model: nn.Module, targets: str, trainable: Iterable[str], place: str) -> list[str]:
    """Names of the linear layers that are to be adapted.

    Raises:
        UserError: no such layer.
    """
    may = set(trainable)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and f"{n}.weight" in may]
    if not linear:
        raise UserError(
            f"setting 'lora_rank' of encoder 'hub': {place} has no linear layer to adapt; set it to 0"
        )
    if targets == ALL_LINEAR:
        return linear
    asked = [part.strip() for part in targets.split(",")]
    known = sorted({name.rpartition(".")[2] for name in linear})
    if unknown := [name for name in asked if name not in known]:
        raise UserError(
            f"setting 'lora_targets' of encoder 'hub': {place} has no linear layer {unknown[0]!r} to adapt; "
            f"choose from {', '.join(known)}, or {ALL_LINEAR}"
        )
    return [name for name in linear if name.rpartition(".")[2] in asked]


def has_adapters(model: nn.Module) -> bool:
    """Whether ``add_lora`` was there."""
    return any(_BASE in f"{name}." for name, _ in model.named_modules())


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the model without adapters that gives the same, by the names that it has."""
    state = {n: v for n, v in model.state_dict().items() if ".lora_" not in n}
    for name, module in model.named_modules():
        delta: Any = getattr(module, "get_delta_weight", None)
        if delta is not None:
            state[f"{name}.{_BASE}weight"] = state[f"{name}.{_BASE}weight"] + delta("default")
    return {name.replace(_BASE, ""): values for name, values in state.items()}
