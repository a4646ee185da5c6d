"""A pretrained model without its weights, by which settings are checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models.adapters import check_targets
from sdl_study.models.backbones.own import quiet, register_all
from sdl_study.models.frozen import example_inputs
from sdl_study.models.layers import Layers, reached_by
from sdl_study.models.places import first_line, found_at, why_not_loaded
from sdl_study.models.pretrained import FIELD, files_at_hand

if TYPE_CHECKING:
    from sdl_study.models.kinds.hub import Settings


@dataclass(frozen=True)
class Skeleton:
    """A model on the meta device, and how its files fit it.

    Attributes:
        model: takes no memory and computes nothing but shapes.
        missing: names of parameters that the files do not hold.
        mismatched: name, shape in the file and shape by the configuration of those that do not fit.
    """

    model: nn.Module
    missing: frozenset[str]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def check_whole(settings: Settings, spec: InputSpec) -> None:
    """Refuse weights that are not those of the configuration, and settings that the model cannot follow.

    Raises:
        UserError: one line.
    """
    place = f"{FIELD}: {settings.name!r}"
    skeleton = _skeleton_of(settings)
    if skeleton.mismatched:
        name, held, told = skeleton.mismatched[0]
        raise UserError(
            f"{place}: its config.json and its weights are not of one model: {name} is {list(held)} in the file and "
            f"{list(told)} by config.json; download it again"
        )
    model = skeleton.model
    check_frozen_layers(model, settings)
    if settings.checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        raise UserError(
            f"setting 'checkpointing' of encoder 'hub': {settings.name!r} cannot compute its "
            "states again; leave it out"
        )
    if not (skeleton.missing or settings.lora_rank):
        return
    used = _used(model, spec, place)
    if used is not None:
        check_lacking(skeleton.missing & used, place)
    if settings.lora_rank:
        adaptable = {name for name, _ in model.named_parameters()} if used is None else used
        check_targets(model, settings.lora_targets, adaptable, repr(settings.name))


def check_lacking(lacking: set[str] | frozenset[str], place: str) -> None:
    """Refuse a model without some of the weights that count.

    Raises:
        UserError: one line.
    """
    if lacking:
        raise UserError(
            f"{place} lacks {len(lacking)} of the weights that its config.json speaks of, {min(lacking)} among them; "
            "choose a model whose weights are whole"
        )


def check_frozen_layers(model: nn.Module, settings: Settings) -> None:
    """Refuse to freeze more layers than there are.

    Raises:
        UserError: one line.
    """
    layers, count = Layers.of(model), settings.frozen_layers
    if not count:
        return
    field = f"setting 'frozen_layers' of encoder 'hub': {count}"
    if layers is None:
        raise UserError(
            f"{field}: the layers of {settings.name!r} cannot be told; take freeze, or leave it out"
        )
    if count > len(layers):
        raise UserError(f"{field} is more than the {len(layers)} layers (stages) of {settings.name!r}")


def _used(model: nn.Module, spec: InputSpec, place: str) -> frozenset[str] | None:
    """Names of the parameters that the hidden states depend on; None where they cannot be told without numbers.

    Without a mask, at whose values most models look. A model that looks at other values as well, or has an operation
    that knows no shapes alone, is asked again when a worker builds it with its weights (``hub.build``), in the same
    words; any other error is one of the model or its configuration.

    Raises:
        UserError: the model cannot read such inputs.
    """
    inputs = {n: v for n, v in example_inputs(spec, "meta").items() if n != "attention_mask"}
    try:
        return frozenset(reached_by(model, lambda: model(**inputs).last_hidden_state))
    except RuntimeError as error:
        if "meta" in str(error).lower():  # an operation that torch does not know on the meta device
            return None
        raise UserError(f"{place} cannot read such inputs: {first_line(error)}") from error


def _skeleton_of(settings: Settings) -> Skeleton:
    folder = files_at_hand(settings)
    files: tuple[tuple[str, int], ...] = ()
    if folder is not None:
        files = tuple(
            sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir() if path.exists())
        )
    try:
        with torch.random.fork_rng(devices=[]):  # a later call finds it kept, and is to draw the same numbers
            return _loaded(found_at(settings.name, FIELD), settings.revision, files)
    except (
        Exception
    ) as error:  # foreign files may make their reader raise anything; its words tell of no data
        raise UserError(
            f"{FIELD}: cannot load {settings.name!r}: {why_not_loaded(error, settings.name)}"
        ) from error


@lru_cache(maxsize=8)
def _loaded(name: str, of: str | None, files: tuple[tuple[str, int], ...]) -> Skeleton:
    """A model's skeleton; kept while its files are the same, as every job of a worker asks for it."""
    from transformers import AutoConfig, AutoModel

    register_all()
    more: dict[str, Any] = {"revision": of} if of else {}
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **more)
    if not files:
        with torch.device("meta"):
            return Skeleton(AutoModel.from_config(config), frozenset(), ())
    with quiet():
        model, info = AutoModel.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **more,
        )
    mismatched = sorted((name, tuple(held), tuple(told)) for name, held, told in info["mismatched_keys"])
    return Skeleton(model, frozenset(info["missing_keys"]), tuple(mismatched))
