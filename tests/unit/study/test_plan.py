"""A plan is checked whole before anything is written, and a study is resumed only as what it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.config import build_settings
from sdl_study.errors import UserError
from sdl_study.setting_paths import value_at, with_values
from sdl_study.space import Parameter, SearchSpace, choice, integer, log_uniform, uniform
from sdl_study.study.plan import check_resume, make_plan
from sdl_study.tracking import Tracker
from tests.unit.study.fakes import small_plan, small_study

FINGERPRINT = "f" * 64


def refused(out: Path, overrides: Mapping[str, Any], **study: Any) -> str:
    with pytest.raises(UserError) as caught:
        small_plan(out, overrides, **study)
    assert not any(out.iterdir())
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("train.epoch", 2, "train has augment"),
        ("trian.epochs", 2, "no such setting"),
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.epochs", "many", "valid integer"),
        ("loss.temperature", -1, "must be a finite number above 0"),
        ("model.encoder", "lstm", "unknown encoder 'lstm'"),
        ("model.encoders.conv.kernel", 4, "kernel must be odd"),
        ("model.encoders.conv.color", 4, "color"),
        ("arms", ("sd", "sdd"), "unknown arm 'sdd'"),
        ("arms", ("sd", "sd"), "named once"),
        ("objective", "train/loss", "objective"),
        ("train.workers", 10_000, "10000 workers"),
        ("train.batch_size", 1, "greater than or equal to 2"),
        ("probe.l2_grid", (0.0,), "above 0"),
        ("loss.temperature", float("inf"), "finite"),
        ("train.learning_rate", float("inf"), "finite"),
        ("train.weight_decay", float("nan"), "finite"),
        ("loss.relation_weights.overlap", float("inf"), "finite"),
        ("probe.l2_grid", (0.1, float("inf")), "finite"),
        ("model.encoders.conv.kind", [1], "kind is a word, not [1]"),
        ("model.encoders.conv.kind", None, "kind is a word, not None"),
        ("arms", "any", "for example \"arms=('any', 'sd')\""),
        ("probe.l2_grid", 0.1, 'for example "probe.l2_grid=(0.001, 0.01)"'),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, path: str, value: Any, words: str
) -> None:
    message = refused(tmp_path, {path: value})
    assert words in message
    assert "\n" not in message
    assert path.rsplit(".", maxsplit=1)[-1] in message or path == "train.workers"


def test_more_workers_than_rows_of_a_batch(tmp_path: Path) -> None:
    cpus = len(os.sched_getaffinity(0))
    if cpus >= 2:
        plan = small_plan(tmp_path, {"train.workers": 2, "train.batch_size": 2})
        assert plan.settings.train.workers == 2
    joined = make_plan(small_study(), tmp_path, "small", {"train.workers": cpus + 1}, joins_cluster=True)
    assert joined.settings.train.workers == cpus + 1
    assert f"the {cpus} CPUs here" in refused(tmp_path, {"train.workers": cpus + 1})


@pytest.mark.parametrize("name", ["", "../elsewhere", "a b", ".hidden"])
def test_a_name_that_is_no_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name"):
        make_plan(small_study(), tmp_path, name, {})


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        small_plan(tmp_path / "file" / "studies")


def test_a_fixed_parameter_is_no_longer_searched(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"loss.temperature": 0.2, "model.encoder": "bert"})
    assert [p.name for p in plan.space.parameters] == ["train.learning_rate", "model.encoders.bert.dropout"]
    assert plan.fixed("sd") == {"model.encoder": "bert"}
    assert plan.space.published_point("sd", plan.fixed("sd")) == {"train.learning_rate": 1e-3}
    assert plan.with_parameters({"train.learning_rate": 0.5}).loss == {"temperature": 0.2}


def started(out: Path, overrides: Mapping[str, Any] | None = None) -> None:
    plan = small_plan(out, overrides)
    plan.files.folder.mkdir(parents=True)
    content = plan.identity() | {"data_fingerprint": FINGERPRINT}
    plan.files.study_json.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "free",
    [{}, {"budget.trials": 9}, {"train.workers": 1}, {"train.trials_per_group": 1}, {"data.path": "x"}],
)
def test_what_may_change_on_resume(tmp_path: Path, free: Mapping[str, Any]) -> None:
    started(tmp_path)
    check_resume(small_plan(tmp_path, free), FINGERPRINT)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"train.epochs": 5}, "train.epochs: 4 → 5"),
        ({"seed": 1}, "seed: 0 → 1"),
        ({"arms": ("sd",)}, "arms"),
        ({"budget.first_rung": 2}, "budget.first_rung: 1 → 2"),
        ({"loss.temperature": 0.1}, "search space"),
        ({"model.encoders.conv.width": 32}, "model.encoders.conv.width"),
        ({"objective": "dev/micro_f1"}, "objective"),
    ],
)
def test_another_study_of_the_same_name_is_refused(
    tmp_path: Path, change: Mapping[str, Any], field: str
) -> None:
    started(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="--name small_2") as caught:
        check_resume(small_plan(tmp_path, change), FINGERPRINT)
    assert field in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_data_and_damage_are_refused(tmp_path: Path) -> None:
    started(tmp_path)
    plan = small_plan(tmp_path)
    with pytest.raises(UserError, match="another content"):
        check_resume(plan, "0" * 64)
    content = json.loads(plan.files.study_json.read_text())
    plan.files.study_json.write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(UserError, match="format_version 99"):
        check_resume(plan, FINGERPRINT)
    plan.files.study_json.write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        check_resume(plan, FINGERPRINT)


def test_every_mistake_of_a_study_has_its_line() -> None:
    values = small_study().settings.model_dump()
    values["train"]["epochs"] = 0
    values["train"]["learning_rate"] = 0
    with pytest.raises(UserError) as caught:
        build_settings(values, "small")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["train.epochs", "train.learning_rate"]


def test_settings_are_read_and_replaced_by_path() -> None:
    settings = small_study().settings
    changed = with_values(
        settings, {"model.encoders.conv.width": 16, "loss.relation_weights.subset": 2.0}, "x"
    )
    assert value_at(changed, "model.encoders.conv.width") == 16
    assert value_at(changed, "loss.relation_weights.subset") == 2.0
    assert settings.loss == {}


def space(*parameters: Parameter, **published: Any) -> SearchSpace:
    return SearchSpace(parameters, {name.replace("__", "."): value for name, value in published.items()})


def test_a_space_refuses_what_makes_no_sense() -> None:
    rate = log_uniform("train.learning_rate", 1e-4, 1e-1)
    with pytest.raises(UserError, match="stands twice"):
        space(rate, rate)
    with pytest.raises(UserError, match=r"loss\.temperature: unknown arm 'sdd'; the study has any, sd"):
        replace(small_study(), space=space(uniform("loss.temperature", 0.1, 0.2, arms=("sdd",))))
    with pytest.raises(UserError, match="lies outside"):
        space(rate, train__learning_rate=1.0)
    with pytest.raises(UserError, match="lies outside"):
        space(choice("model.encoder", "conv"), model__encoder="bert")
    with pytest.raises(UserError, match="no parameter"):
        space(rate, loss__temperature=0.07)
    with pytest.raises(TypeError, match="only_if"):
        uniform("loss.temperature", 0.1, 0.2, only_if={})


def test_every_value_of_a_space_must_be_a_valid_setting(tmp_path: Path) -> None:
    study = small_study()
    wide = SearchSpace((integer("model.encoders.conv.kernel", 3, 6),))
    with pytest.raises(UserError, match="kernel must be odd"):
        make_plan(replace(study, space=wide), tmp_path, "small", {})


def test_a_description_tells_spaces_apart() -> None:
    one = space(log_uniform("train.learning_rate", 1e-4, 1e-1))
    same = space(log_uniform("train.learning_rate", 1e-4, 1e-1))
    others = [
        space(log_uniform("train.learning_rate", 1e-4, 2e-1)),
        space(uniform("train.learning_rate", 1e-4, 1e-1)),
        space(log_uniform("train.learning_rate", 1e-4, 1e-1, arms=("sd",))),
        space(log_uniform("train.learning_rate", 1e-4, 1e-1, when={"model.encoder": "conv"})),
        space(log_uniform("train.learning_rate", 1e-4, 1e-1), train__learning_rate=1e-3),
    ]
    assert one.described() == same.described()
    described = [json.dumps(each.described(), sort_keys=True) for each in (one, *others)]
    assert len(set(described)) == 6


def conditional(when: Mapping[str, Any], *others: Parameter) -> SearchSpace:
    return space(
        choice("model.encoder", "conv", "bert"),
        integer("model.encoders.conv.width", 16, 64, step=16),
        *others,
        uniform("model.encoders.bert.dropout", 0.0, 0.5, when=when),
        log_uniform("train.learning_rate", 1e-4, 1e-1),
    )


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"model.encodr": "bert"}, "'model.encodr': neither a parameter of the space nor a setting"),
        ({"model_encoder": "bert"}, "neither a parameter of the space nor a setting"),
        ({"train.model_dump": "bert"}, "neither a parameter of the space nor a setting"),
        ({"model.encoders.conv.layers": 2}, "neither a parameter of the space nor a setting"),
        ({"model.encoder": "brt"}, "'model.encoder': 'brt' cannot occur"),
        ({"model.encoder": ("bert", "brt")}, "'brt' cannot occur"),
        ({"model.encoder": ()}, "names no value"),
        ({"model.encoders.conv.width": 17}, "17 cannot occur"),
        ({"train.learning_rate": 1e-3}, "'train.learning_rate': this parameter must stand before it"),
        ({"model.encoders.bert.dropout": 0.1}, "must stand before it"),
        ({"loss.normalizer": "weight"}, "loss.normalizer is 'weight'; "),
        ({"train.batch_size": "64"}, "'64' cannot occur"),
    ],
)
def test_a_condition_that_cannot_hold(tmp_path: Path, when: Mapping[str, Any], words: str) -> None:
    study = small_study()
    with pytest.raises(UserError) as caught:
        make_plan(replace(study, space=conditional(when)), tmp_path, "small", {})
    assert "small: search space: model.encoders.bert.dropout: when " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "when",
    [
        {"model.encoder": "bert"},
        {"model.encoder": ("bert", "conv"), "model.encoders.conv.width": 32},
        {"loss.normalizer": "weights"},
    ],
)
def test_a_condition_that_can_hold(tmp_path: Path, when: Mapping[str, Any]) -> None:
    study = replace(small_study(), space=conditional(when))
    make_plan(study, tmp_path, "small", {})
    # Fixed on the command line, the value cannot occur, as the user wants it.
    make_plan(study, tmp_path, "small", {"model.encoder": "conv", "loss.normalizer": "positives"})


def test_a_condition_on_what_an_arm_does_not_search(tmp_path: Path) -> None:
    study = small_study()
    only_sd = uniform("loss.similarity_power", 0.5, 1.0, arms=("sd",))
    asked = conditional({"loss.similarity_power": 0.5}, only_sd)
    with pytest.raises(UserError, match="arm any does not search it"):
        make_plan(replace(study, space=asked), tmp_path, "small", {})


@pytest.mark.parametrize("name", ["data", "Data", "mlartifacts", "mlflow.db", "mlflow.db-journal", "x" * 300])
def test_a_name_that_the_folder_of_studies_needs_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name") as caught:
        make_plan(small_study(), tmp_path, name, {})
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "folder", ["q?x", "p%20x", "100%", "new\nline", "x" * 300, "/".join(["x" * 200] * 9)]
)
def test_an_output_folder_that_cannot_hold_a_study(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UserError, match="--out") as caught:
        small_plan(tmp_path / folder)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_the_tracking_database_lies_in_a_folder_with_odd_characters(tmp_path: Path) -> None:
    files = small_plan(tmp_path / "sp ace h#x ü & a=b").files
    files.folder.mkdir(parents=True)
    tracker = Tracker(files.mlflow_uri, files.artifacts, "small")
    tracker.open_parent({"seed": 0}, {})
    assert sorted(path.name for path in files.out.iterdir() if path.is_file()) == ["mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == [files.out.name]
