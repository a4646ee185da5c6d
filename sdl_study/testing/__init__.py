"""What an outsider tests with: sharded losses in real processes, and contracts to inherit.

``check_sharded`` compares any loss on several processes with itself on one. ``LossContract``, ``EncoderContract`` and
``SpaceContract`` are classes of tests: a subclass in a test module names a loss, an encoder or a search space. The last
two need more than torch and numpy, and are imported when they are asked for.
"""

import importlib
from typing import Any

from sdl_study.testing.loss_contract import LossContract
from sdl_study.testing.processes import ProcessFailure, run_processes
from sdl_study.testing.sharded import (
    ShardedCase,
    ShardedReport,
    check_sharded,
    default_shards,
    flat_gradient,
    make_encoder,
    make_inputs,
    multi_hot_labels,
    single_labels,
)

__all__ = [
    "LossContract",
    "ProcessFailure",
    "ShardedCase",
    "ShardedReport",
    "check_sharded",
    "default_shards",
    "flat_gradient",
    "make_encoder",
    "make_inputs",
    "multi_hot_labels",
    "run_processes",
    "single_labels",
]

_WHEN_ASKED = {"EncoderContract": "encoder_contract", "SpaceContract": "space_contract"}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_ASKED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHEN_ASKED[name]}"), name)
