"""What a study will cost, before anything is written or trained: ``study NAME --dry-run``.

Every encoder is built from its configuration without numbers (``sdl_study.models.outlines``) and one step of it is
traced: its operations, and the memory that is alive at once. What follows from that by arithmetic, and from the stated
rates of devices, is everything else.
"""

from __future__ import annotations

from sdl_study.study.forecast.text import forecast_text
from sdl_study.study.forecast.whole import Forecast, make_forecast

__all__ = ["Forecast", "forecast_text", "make_forecast"]
