"""How many GPUs a trial is given: what follows from a study's encoders and the memory of a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.study.forecast.devices import CONTEXT_BYTES, GIB, MEMORY_SHARE
from sdl_study.study.forecast.encoders import EncoderForecast, encoder_forecasts
from sdl_study.study.forecast.workers import fewest_gpus
from sdl_study.study.plan import Plan, make_plan
from tests.unit.data import small
from tests.unit.study.fakes import small_study


def plan_of(folder: Path, **train: object) -> tuple[Plan, PreparedData]:
    small.write_text(folder / "data")
    given = {"data.path": str(folder / "data"), **{f"train.{name}": value for name, value in train.items()}}
    plan = make_plan(small_study(), folder / "studies", "small", given)
    return plan, PreparedData.load(folder / "data")


def traced(plan: Plan, data: PreparedData) -> tuple[EncoderForecast, ...]:
    return encoder_forecasts(plan, DataSizes.of(data.manifest), data)


def memory_for(needed: float) -> float:
    """Of a GPU on which so many bytes may be filled."""
    return (needed + CONTEXT_BYTES) / MEMORY_SHARE


def test_one_gpu_is_enough_as_long_as_a_row_fits(tmp_path: Path) -> None:
    plan, data = plan_of(tmp_path, batch_size=64)
    assert fewest_gpus(plan, data, 80 * GIB) == 1
    one_row = max(encoder.state.total + encoder.heaviest.alive(1) for encoder in traced(plan, data))
    assert fewest_gpus(plan, data, memory_for(one_row + 1)) == 1


def test_an_encoder_that_is_too_large_for_a_gpu(tmp_path: Path) -> None:
    plan, data = plan_of(tmp_path, batch_size=64)
    largest = max(traced(plan, data), key=lambda encoder: encoder.state.total)
    tight = memory_for(largest.state.total / 2 + largest.heaviest.alive(1) + 1)
    with pytest.raises(UserError, match=r"encoders\.\w+ does not fit .* train.parallel=fsdp .*--workers N"):
        fewest_gpus(plan, data, tight)
    sharded, _ = plan_of(tmp_path / "sharded", batch_size=64, parallel="fsdp")
    assert fewest_gpus(sharded, data, tight) == 2
    with pytest.raises(UserError, match="a trial of one row is too large for 8 of them"):
        fewest_gpus(plan, data, memory_for(1))
