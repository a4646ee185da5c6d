"""Inputs belong to the encoder: a store per distinct reading, and no setting of the store that nobody heeds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdl_study.config import DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec, open_store
from sdl_study.errors import UserError
from sdl_study.space import SearchSpace, choice
from sdl_study.study.located import located
from sdl_study.study.readings import (
    candidates,
    check_encoders_fit,
    check_readings,
    readings,
    seen_before,
)
from tests.unit.data import small

KIND = """
from typing import ClassVar
from sdl_study.models import EncoderSettings
from sdl_study.models.kinds import conv

class Settings(conv.Settings):
    length: int = 0
    tokenizer: str = ""

def reads(settings):
    own = {"max_length": settings.length, "tokenizer": settings.tokenizer}
    return {name: value for name, value in own.items() if value}

def build(settings, spec):
    return conv.build(settings, spec)
"""


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    small.write_text(tmp_path / "data")
    return PreparedData.load(tmp_path / "data")


@pytest.fixture
def kind(tmp_path: Path) -> str:
    (tmp_path / "kind.py").write_text(KIND)
    return str(tmp_path / "kind.py")


def settings(encoders: dict[str, dict[str, Any]], store: dict[str, Any]) -> Settings:
    return Settings(
        data=DataSettings(path="anywhere", store=store),
        model=ModelSettings(encoder=next(iter(encoders)), encoders=encoders),
        train=TrainSettings(epochs=1),
    )


def both(*names: str) -> SearchSpace:
    return SearchSpace((choice("model.encoder", *names),), {"model.encoder": names[0]})


def test_an_encoder_reads_as_it_asks_and_otherwise_as_the_study_says(kind: str) -> None:
    encoders = {"plain": {"kind": "conv"}, "short": {"kind": kind, "length": 8}, "same": {"kind": kind}}
    found = candidates(both(*encoders), settings(encoders, {"max_length": 32}), "mine")
    assert [candidate.reading for candidate in found] == [
        {"max_length": 32},
        {"max_length": 8},
        {"max_length": 32},
    ]
    assert readings(found) == [{"max_length": 32}, {"max_length": 8}]


def test_only_encoders_that_a_trial_may_get_are_read_for(kind: str) -> None:
    encoders = {"plain": {"kind": "conv"}, "short": {"kind": kind, "length": 8}}
    chosen = settings(encoders, {"max_length": 32})
    other = SearchSpace((choice("train.batch_size", 8, 16),), {"train.batch_size": 8})
    assert [candidate.name for candidate in candidates(other, chosen, "mine")] == ["plain"]


def test_what_is_searched_of_a_reading_makes_a_store_each(kind: str) -> None:
    encoders = {"short": {"kind": kind, "length": 8}}
    lengths = SearchSpace((choice("model.encoders.short.length", 8, 16),), {"model.encoders.short.length": 8})
    found = candidates(lengths, settings(encoders, {}), "mine")
    assert readings(found) == [{"max_length": 8}, {"max_length": 16}]


def test_a_job_reads_as_its_encoder_does(kind: str) -> None:
    encoders = {"plain": {"kind": "conv"}, "short": {"kind": kind, "length": 8}}
    given = settings(encoders, {"max_length": 32}).model_dump(mode="json")
    assert located(given)["data"]["store"] == {"max_length": 32}
    given["model"]["encoder"] = "short"
    assert located(given)["data"]["store"] == {"max_length": 8}


def test_a_setting_of_the_store_that_no_encoder_heeds_is_refused(kind: str) -> None:
    encoders = {"a": {"kind": kind, "length": 8}, "b": {"kind": kind, "length": 16}}
    found = candidates(both("a", "b"), settings(encoders, {"max_length": 32}), "mine")
    with pytest.raises(
        UserError, match=r"^mine: data\.store\.max_length: 32 is used by no encoder .*a with 8, b with 16"
    ):
        check_readings(found, "text", {"max_length": 32}, "mine")
    check_readings(found, "text", {"max_length": 16}, "mine")
    mixed = candidates(
        both("a", "c"), settings(encoders | {"c": {"kind": "conv"}}, {"max_length": 32}), "mine"
    )
    check_readings(mixed, "text", {"max_length": 32}, "mine")


def test_a_reading_that_the_store_does_not_know_is_refused(kind: str) -> None:
    found = candidates(both("a"), settings({"a": {"kind": kind, "tokenizer": "runes"}}, {}), "mine")
    with pytest.raises(UserError, match=r"data\.store\.tokenizer: 'runes' is unknown"):
        check_readings(found, "text", {}, "mine")


def test_every_reading_gets_the_examples_of_its_own_store(
    data: PreparedData, kind: str, tmp_path: Path
) -> None:
    encoders = {"a": {"kind": kind, "length": 4}, "b": {"kind": kind, "length": 16}}
    found = candidates(both("a", "b"), settings(encoders, {}), "mine")
    lengths = []

    def spec_of(reading: Any) -> Any:
        spec = open_store(data, reading, tmp_path / "stores").spec
        lengths.append(spec.max_length)
        return spec

    check_encoders_fit(found, spec_of, "mine")
    assert lengths[0] == 4 < lengths[1]
    assert len([path for path in (tmp_path / "stores").iterdir() if path.is_dir()]) == 2
    check_encoders_fit(found, partial(expected_spec, data), "mine")


def test_encoders_that_have_read_the_source_before_are_told_once_each() -> None:
    """Told without their files: a finished study is printed wherever they have gone."""
    clinical = {"kind": "hub", "name": "ours", "pretrained_on": ("mimic-iii",), "max_length": 8}
    chosen = settings({"plain": {"kind": "conv"}, "a": clinical, "b": clinical}, {})
    source = {"pipeline": "mimic", "release": "mimic-iii"}
    assert seen_before(both("plain"), chosen, source) == ()
    (words,) = seen_before(both("plain", "a", "b"), chosen, source)
    assert words.startswith("encoder ours was pretrained on mimic-iii")
    assert seen_before(both("a"), chosen, {"pipeline": "coco"}) == ()
