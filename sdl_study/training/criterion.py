"""What an arm minimises, made from the trial's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdl_study.arms import Arm
from sdl_study.losses.catalogue import find_loss


def build_criterion(arm: Arm, given: Mapping[str, Any]) -> Any:
    """The loss of an arm: of the settings that are given for losses it takes those that its own has."""
    kind = find_loss(arm.loss)
    return kind.build(arm.loss_settings(given, kind.settings))
