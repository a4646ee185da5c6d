"""The layers of a backbone by depth, and how the lower ones and the rest are run apart.

What a frozen lower part gives is the same in every trial and epoch: it is computed once (``lower``) and training goes
on from there (``upper``), with the very numbers of the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

# Where transformers' models and ours keep their layers (of convolutional ones: stages), and what stands before them.
_LISTS = (
    "encoder.layer", "encoder.layers", "transformer.layer", "encoder.stages", "layers", "layer", "stages", "h",
)  # fmt: skip
_EMBEDDINGS = ("embeddings", "embed_tokens", "embedder", "embedding", "stem", "wte")

# Models that go from the embeddings through their layers and do nothing else with either: tried, one by one.
_SPLIT = frozenset(
    {
        "bert", "camembert", "distilbert", "megatron-bert", "modernbert", "mpnet", "roberta", "xlm-roberta",
        "llama", "mistral", "qwen2", "qwen3",
        "convnext", "convnextv2", "deit", "dinov2", "dinov2_with_registers", "resnet", "vit",
        "sdl_efficientnet_lite", "sdl_resnet",
    }
)  # fmt: skip


def reached_by(backbone: nn.Module, run: Callable[[], Tensor]) -> set[str]:
    """Names of a backbone's parameters that an output depends on, frozen ones among them; it stays as it is."""
    named = list(backbone.named_parameters())
    modules = {module: module.training for module in backbone.modules()}
    trained = [parameter.requires_grad for _, parameter in named]
    backbone.eval().requires_grad_(True)
    try:
        with torch.enable_grad():
            leaves = _leaves(run())
    finally:
        for (_, parameter), was in zip(named, trained, strict=True):
            parameter.requires_grad_(was)
        for module, was in modules.items():
            module.training = was
    return {name for name, parameter in named if id(parameter) in leaves}


def _leaves(output: Tensor) -> set[int]:
    """Identities of the tensors at the ends of an output's graph; no gradient is computed, which takes memory."""
    leaves: set[int] = set()
    seen: set[Any] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # of a node that would add up a leaf's gradient
        if variable is not None:
            leaves.add(id(variable))
        waiting += [following for following, _ in node.next_functions]
    return leaves


class Layers:
    """Embeddings and layers of a backbone, lowest first."""

    def __init__(self, backbone: nn.Module, path: str, embeddings: str) -> None:
        self._backbone = (backbone,)  # not a part of anything, so in no state of weights
        self.path, self.embeddings = path, embeddings

    @classmethod
    def of(cls, backbone: nn.Module) -> Layers | None:
        """The layers of a backbone; None where it does not keep them in a list."""
        path = next((p for p in _LISTS if isinstance(_at(backbone, p), nn.ModuleList)), None)
        embeddings = next((p for p in _EMBEDDINGS if isinstance(_at(backbone, p), nn.Module)), None)
        return cls(backbone, path, embeddings) if path is not None and embeddings is not None else None

    @property
    def _list(self) -> nn.ModuleList:
        found = _at(self._backbone[0], self.path)
        assert isinstance(found, nn.ModuleList)
        return found

    def __len__(self) -> int:
        return len(self._list)

    @property
    def can_split(self) -> bool:
        """Whether this model goes on from its hidden states (``upper``)."""
        config = getattr(self._backbone[0], "config", None)
        return getattr(config, "model_type", None) in _SPLIT

    def depth_of(self, name: str) -> int:
        """Depth of a backbone's parameter: 0 for the embeddings, 1 to n for the layers, n + 1 for what is above."""
        if name.startswith(f"{self.path}."):
            number = name.removeprefix(f"{self.path}.").partition(".")[0]
            return int(number) + 1
        return 0 if name.startswith(f"{self.embeddings}.") else len(self) + 1

    def lowest(self, count: int) -> list[nn.Module]:
        """The embeddings and the lowest ``count`` layers."""
        embeddings = _at(self._backbone[0], self.embeddings)
        assert isinstance(embeddings, nn.Module)
        return [embeddings, *self._list[:count]]

    def lower(self, count: int, inputs: Mapping[str, Tensor]) -> Tensor:
        """Hidden states behind the lowest ``count`` layers, which is as far as the backbone runs.

        Returns:
            [n, t, width], of convolutional models [n, width, h, w].
        """
        handle = self._list[count - 1].register_forward_hook(_stop)
        try:
            self._backbone[0](**inputs)
        except _ReachedError as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise RuntimeError(f"layer {count} of {type(self._backbone[0]).__name__} was not run")

    def upper(self, count: int, hidden: Tensor, mask: Tensor | None) -> Any:
        """What the backbone gives, from the hidden states behind its lowest ``count`` layers.

        Args:
            hidden: as ``lower`` gives them.
            mask: [n, t] for texts, None for images.
        """
        backbone = self._backbone[0]
        given = _Given(_at(backbone, self.embeddings))
        rest = nn.ModuleList(list(self._list)[count:])
        upper = _with_parts(backbone, {self.embeddings: given, self.path: rest})
        upper.__dict__["config"] = _above(upper.config, count)
        if mask is None:
            return upper(pixel_values=hidden)
        return upper(inputs_embeds=hidden, attention_mask=mask)

    def freeze(self, count: int, inputs: Mapping[str, Tensor]) -> None:
        """Freeze the embeddings, the lowest ``count`` layers, and what else their hidden states depend on.

        That is asked of the gradient: a table of positions may be shared by all layers, and lie outside of them.
        """
        backbone = self._backbone[0]
        below = reached_by(backbone, lambda: self.lower(count, inputs))
        for name, parameter in backbone.named_parameters():
            if name in below:
                parameter.requires_grad_(False)
        for part in self.lowest(count):
            part.requires_grad_(False)

    def state_below(self, count: int, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights and buffers that the hidden states behind the lowest ``count`` layers depend on, by name."""
        below = reached_by(self._backbone[0], lambda: self.lower(count, inputs))
        buffers = {id(buffer) for part in self.lowest(count) for buffer in part.buffers()}
        state = self._backbone[0].state_dict(keep_vars=True)
        return {name: values for name, values in state.items() if name in below or id(values) in buffers}


class _ReachedError(Exception):
    """A model has come to its layer; no mistake, but the only way to stop one in the middle."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def _stop(module: nn.Module, args: Any, output: Any) -> NoReturn:  # noqa: ARG001 (a hook is given them)
    raise _ReachedError(output if isinstance(output, torch.Tensor) else output[0])


class _Given(nn.Module):
    """In the place of a model's embeddings: hands on what it is given, and is asked for the attributes of theirs."""

    def __init__(self, embeddings: Any) -> None:
        super().__init__()
        self._embeddings = (embeddings,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_embeddings"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The hidden states among its arguments."""
        return next(
            value
            for value in (*args, *kwargs.values())
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        )


def _at(module: nn.Module, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name, None)  # type: ignore[assignment]
    return module


def _with_parts(module: nn.Module, parts: Mapping[str, nn.Module]) -> Any:
    """A copy that shares all but some parts, named by their paths; the module itself stays as it is."""
    other = object.__new__(type(module))
    other.__dict__.update(module.__dict__)
    other.__dict__["_modules"] = dict(module.__dict__["_modules"])
    for path, part in parts.items():
        name, _, rest = path.partition(".")
        children = other.__dict__["_modules"]
        children[name] = _with_parts(children[name], {rest: part}) if rest else part
    return other


def _above(config: Any, count: int) -> Any:
    """A configuration of the layers above the lowest ``count``: some models ask it for the type of layer i.

    Keys and values of earlier tokens are not kept: their places are counted from the lowest layer on.
    """
    above = copy.copy(config)
    above.__dict__["use_cache"] = False
    types = getattr(config, "layer_types", None)
    if types is not None:
        above.__dict__.update(layer_types=types[count:], num_hidden_layers=len(types) - count)
    return above
