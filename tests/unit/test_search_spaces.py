"""Every study of search_spaces keeps the contract that a user's own inherits; and the contract finds what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdl_study.errors import UserError
from sdl_study.own_modules import OwnStudy, load_study, study_names
from sdl_study.space import SearchSpace, Study, choice, log_uniform, uniform
from sdl_study.testing import SpaceContract
from tests.unit.study.fakes import small_study

CONTRACT = [name for name in vars(SpaceContract) if name.startswith("test_")]


OVER = {"ablation": "demo_mimic"}  # studies over another one, and a base to check them with


def load(name: str) -> OwnStudy:
    return load_study(name, load_study(OVER[name]) if name in OVER else None)


def check(study: str | Study, name: str) -> None:
    base = OVER.get(study) if isinstance(study, str) else None
    contract = type("Contract", (SpaceContract,), {"study": study, "base": base, "points": 20})()
    getattr(contract, name)()


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("study", sorted(study_names()))
def test_a_study_of_the_project(study: str, name: str) -> None:
    check(study, name)


def test_the_contract_is_inherited() -> None:
    class TestMine(SpaceContract):
        study = small_study()

    for name in CONTRACT:
        getattr(TestMine(), name)()


ENCODER = choice("model.encoder", "conv", "bert")
RATE = log_uniform("train.learning_rate", 1e-4, 1e-1)


@pytest.mark.parametrize(
    ("parameters", "published", "name", "error"),
    [
        ((choice("model.encoders.conv.kernel", 3, 4),), {}, CONTRACT[0], UserError),
        (
            (ENCODER, choice("model.encoders.bert.heads", 3, 4, when={"model.encoder": "lstm"})),
            {},
            CONTRACT[0],
            UserError,
        ),
        (
            (
                ENCODER,
                uniform("model.encoders.bert.dropout", 0, 0.1, when={"model.encoder": "bert"}),
                uniform("model.encoders.conv.dropout", 0, 0.1, when={"model.encoders.bert.dropout": 0.05}),
            ),
            {},
            "test_every_condition_holds_somewhere",
            AssertionError,
        ),
        (
            (RATE, uniform("train.weight_decay", 0, 0.1, arms=("sd",))),
            {},
            "test_every_arm_searches_the_same_but_for_its_loss",
            AssertionError,
        ),
        (
            (RATE, ENCODER),
            {"model.encoder": "conv"},
            "test_the_published_point_names_every_parameter_that_is_always_asked",
            AssertionError,
        ),
    ],
)
def test_the_contract_finds_what_is_wrong(
    parameters: tuple, published: dict, name: str, error: type[Exception]
) -> None:
    study = replace(small_study(), space=SearchSpace(parameters, published))
    with pytest.raises(error):
        check(study, name)


def test_helpers_are_no_studies() -> None:
    assert all(not name.startswith("_") for name in study_names())
    assert {load(name).name for name in set(study_names()) - set(OVER)} == set(study_names()) - set(OVER)
    assert [load(name).name for name in OVER] == ["demo_mimic_ablation"]


@pytest.mark.parametrize("name", study_names())
def test_what_is_said_to_be_published_is_a_value_of_the_first_trial(name: str) -> None:
    study = load(name).study
    for arm in study.arms:
        space = study.space
        point = {**space.published, **space.published_of_arm.get(arm.name, {})}
        assert set(space.origins.get(arm.name, {})) <= set(point)


def test_the_first_trial_of_mulsupcon_is_its_own() -> None:
    study = load_study("text").study
    points = {arm.name: study.space.published_point(arm.name, {}) for arm in study.arms}
    assert points["mulsupcon"]["loss.temperature"] == 0.1
    assert {point["loss.temperature"] for arm, point in points.items() if arm != "mulsupcon"} == {0.07}
    fewer = study.of_arms(("bce", "sd")).space.without(("loss.temperature",))
    assert fewer.published_of_arm == {}
    assert fewer.origins == study.space.origins
