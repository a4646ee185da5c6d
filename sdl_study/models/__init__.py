"""Encoders, pooling, normalisation over the global batch, and the heads that training puts on top.

The settings are importable without torch; what needs it is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdl_study.input_spec import InputSpec
from sdl_study.models.catalogue import (
    EncoderKind,
    check_encoder,
    encoder_reads,
    encoder_settings,
    find_kind,
    kind_names,
    locate_encoder,
    parse_encoder_settings,
)
from sdl_study.models.seen import overlap
from sdl_study.models.settings import EncoderSettings

if TYPE_CHECKING:
    from sdl_study.models.encoders import Encoder, build_encoder, load_encoder
    from sdl_study.models.heads import JointHead, LinearHead, ProjectionHead
    from sdl_study.models.norm import GlobalBatchNorm1d

_HOME = {
    "Encoder": "encoders",
    "build_encoder": "encoders",
    "load_encoder": "encoders",
    "JointHead": "heads",
    "LinearHead": "heads",
    "ProjectionHead": "heads",
    "GlobalBatchNorm1d": "norm",
}

__all__ = [
    "Encoder",
    "EncoderKind",
    "EncoderSettings",
    "GlobalBatchNorm1d",
    "InputSpec",
    "JointHead",
    "LinearHead",
    "ProjectionHead",
    "build_encoder",
    "check_encoder",
    "encoder_reads",
    "encoder_settings",
    "find_kind",
    "kind_names",
    "load_encoder",
    "locate_encoder",
    "overlap",
    "parse_encoder_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
