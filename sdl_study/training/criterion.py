"""What an arm minimises, made from the study's settings."""

from __future__ import annotations

from typing import Any

from sdl_study.arms import ARMS
from sdl_study.config import LossSettings
from sdl_study.losses import find_loss


def build_criterion(arm_name: str, settings: LossSettings) -> Any:
    """The loss of an arm with the study's settings; an arm takes those that its strategy knows."""
    arm = ARMS[arm_name]
    kind = find_loss(arm.strategy)
    names = (*arm.loss_settings, *(["temperature"] if kind.pretraining == "contrastive" else []))
    values = settings.model_dump()
    return kind.build({name: values[name] for name in names})
