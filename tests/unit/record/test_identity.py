"""study.json: a new setting with a default strands no old study; what differs is told field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from sdl_study import config
from sdl_study.arms import Arm
from sdl_study.config import Settings, TrainSettings, build_settings
from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.record.identity import read_identity
from sdl_study.study.plan import Plan, check_resume, make_plan
from tests.unit.study.fakes import small_plan, small_study

FINGERPRINT = "f" * 64


def begun(plan: Plan, **changes: Any) -> Path:
    write_json(plan.files.study_json, plan.identity() | {"data_fingerprint": FINGERPRINT} | changes)
    return plan.files.study_json


def test_a_version_with_another_setting_goes_on_with_an_old_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(small_plan(tmp_path))
    train = create_model("TrainSettings", __base__=TrainSettings, momentum=(float, 0.9))
    wider = create_model("Settings", __base__=Settings, train=(train, ...), flavour=(str, "plain"))
    monkeypatch.setattr(config, "Settings", wider)
    study = small_study()
    study = replace(study, settings=build_settings(study.settings.model_dump(), "small"))
    assert study.settings.model_dump()["train"]["momentum"] == 0.9
    plan = make_plan(study, tmp_path, "small", {})
    check_resume(plan, FINGERPRINT)
    assert read_identity(plan.files.study_json)["settings"]["flavour"] == "plain"
    other = make_plan(study, tmp_path, "small", {"train.momentum": 0.5, "flavour": "hot"})
    with pytest.raises(UserError) as told:
        check_resume(other, FINGERPRINT)
    assert "train.momentum: 0.9 → 0.5" in str(told.value)
    assert "flavour: 'plain' → 'hot'" in str(told.value)


def test_an_arm_that_was_written_without_what_has_a_default(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    bare = [
        {key: value for key, value in arm.to_dict().items() if key in ("name", "loss")} for arm in plan.arms
    ]
    begun(plan, arms=bare)
    check_resume(plan, FINGERPRINT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "format_version 2, this version reads 3"),
        ({"format_version": None}, "format_version None"),
        ({"arms": [{"name": "sd", "loss": "sd", "colour": 1}]}, "does not know all that stands there"),
        ({"arms": [{"loss": "sd"}]}, "does not know all that stands there"),
        ({"settings": {"train": {"epochs": 0}}}, "study.json: settings: train.epochs"),
    ],
)
def test_what_this_version_does_not_know_is_told(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = begun(small_plan(tmp_path), **change)
    with pytest.raises(UserError) as told:
        read_identity(path)
    assert words in str(told.value)
    assert all(line.startswith(str(path)) for line in str(told.value).splitlines())


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}"])
def test_json_of_another_kind(text: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(UserError, match="format_version None"):
        read_identity(path)


def changed(tmp_path: Path, **study: Any) -> str:
    begun(small_plan(tmp_path))
    plan = make_plan(replace(small_study(), **study), tmp_path, "small", {})
    with pytest.raises(UserError) as told:
        check_resume(plan, FINGERPRINT)
    return str(told.value)


def test_another_method_is_another_study(tmp_path: Path) -> None:
    assert "method: 'sd' → 'any'" in changed(tmp_path, method="any")


def test_an_arm_that_is_fixed_otherwise_is_another_study(tmp_path: Path) -> None:
    arms = (small_study().arms[0], Arm("sd", "sd", fixed={"similarity_power": 0.5}))
    told = changed(tmp_path, arms=arms)
    assert "arms.sd.fixed.similarity_power: None → 0.5" in told


def test_a_parameter_that_came_or_went_is_named(tmp_path: Path) -> None:
    space = small_study().space
    fewer = replace(space, parameters=space.parameters[:-1])
    assert "search space: model.encoders.bert.dropout was searched" in changed(tmp_path, space=fewer)


def test_identity_is_plain_json(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    assert json.loads(json.dumps(plan.identity())) == plan.identity()


def test_a_study_from_before_a_setting_means_what_it_meant(tmp_path: Path) -> None:
    """It counted every label, probed on the grid that it names, decayed all weights, looked behind the head for a
    collapse and drew a head's biases: to go on otherwise would mix two studies."""
    as_before = {
        "probe.l2_grid": (1e-3, 1e-2), "probe.grow": False, "probe.scaling": ("standard",),
        "probe.chosen_on": "train", "objective_min_positives": 0, "train.decay_all": True,
        "train.collapse_of": "outputs", "train.head_bias": "random",
    }  # fmt: skip
    plan = small_plan(tmp_path, as_before)
    settings = plan.identity()["settings"]
    del settings["objective_min_positives"], settings["probe"]["grow"], settings["probe"]["scaling"]
    del settings["probe"]["chosen_on"], settings["train"]["decay_all"], settings["train"]["collapse_of"]
    del settings["train"]["head_bias"]
    path = begun(plan, settings=settings)
    assert build_settings(read_identity(path)["settings"], "").objective_key == "dev/map"
    check_resume(plan, FINGERPRINT)
    with pytest.raises(UserError) as told:
        check_resume(small_plan(tmp_path, {"probe.l2_grid": (1e-3, 1e-2)}), FINGERPRINT)
    assert "objective_min_positives: 0 → 10" in str(told.value)
    assert "probe.grow: False → True" in str(told.value)
    assert "probe.scaling: ['standard'] → ['standard', 'unit']" in str(told.value)
    assert "train.decay_all: True → False" in str(told.value)
    assert "train.collapse_of: 'outputs' → 'embeddings'" in str(told.value)
    assert "train.head_bias: 'random' → 'prior'" in str(told.value)


@pytest.mark.parametrize("seeds", [0, 2])
def test_a_study_that_chose_on_one_dev_goes_on_so(seeds: int, tmp_path: Path) -> None:
    """Where it has selection seeds; where it has none there is nothing to draw, and nothing stands in the way."""
    given = {"budget.selection_seeds": seeds}
    plan = small_plan(tmp_path, given)
    settings = plan.identity()["settings"]
    del settings["budget"]["selection_split"]
    begun(plan, settings=settings)
    check_resume(
        small_plan(tmp_path, {**given, **({"budget.selection_split": "kept"} if seeds else {})}), FINGERPRINT
    )
    if seeds:
        with pytest.raises(UserError, match=r"budget\.selection_split: 'kept' → 'auto'"):
            check_resume(plan, FINGERPRINT)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.micro_batch", 7),
        ("train.checkpoint_minutes", 0.5),
        ("train.compile", True),
        ("train.parallel", "fsdp"),
    ],
)
def test_how_a_study_is_computed_may_change_on_resume(setting: str, value: Any, tmp_path: Path) -> None:
    begun(small_plan(tmp_path))
    check_resume(small_plan(tmp_path, {setting: value}), FINGERPRINT)


def test_a_study_from_when_folds_were_called_draws_goes_on(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"budget.selection_split": "folds", "budget.selection_folds": 3})
    settings = plan.identity()["settings"]
    del settings["budget"]["selection_folds"]
    settings["budget"] |= {"selection_split": "redrawn", "selection_draws": 3}
    path = begun(plan, settings=settings)
    assert read_identity(path)["settings"]["budget"] == plan.identity()["settings"]["budget"]
    check_resume(plan, FINGERPRINT)
