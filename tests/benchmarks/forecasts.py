"""The forecasts that benchmarks measure against: of the encoders of studies of real size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from sdl_study.config import Settings
from sdl_study.own_modules import load_study
from sdl_study.study.forecast.encoders import EncoderForecast, encoder_forecasts, settings_of
from sdl_study.study.plan import make_plan


def of_study(name: str) -> Iterator[tuple[EncoderForecast, Settings]]:
    """Of each encoder that a study searches over, with the settings that the study begins with.

    Args:
        name: of a study whose data are known without having them.
    """
    own = load_study(name).study
    assert own.expects is not None
    with tempfile.TemporaryDirectory() as out:
        plan = make_plan(own, Path(out), name, {})
    settings = settings_of(plan)
    for forecast in encoder_forecasts(plan, own.expects, None):
        yield forecast, settings
