"""An encoder's own learning rate: in the job it stands in train, no kind sees it, and nothing is searched in vain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.record.trials import TrialRecord
from sdl_study.space import Parameter, SearchSpace, choice, log_uniform
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan, make_plan
from tests.unit.study.fakes import open_search, play, small_study

CHOICE = choice("model.encoder", "conv", "bert")
OF_CONV = log_uniform("model.encoders.conv.learning_rate", 1e-3, 1e-1, when={"model.encoder": "conv"})
OF_BERT = log_uniform("model.encoders.bert.learning_rate", 1e-6, 1e-4, when={"model.encoder": "bert"})
OF_ALL = "train.learning_rate"


def plan_of(out: Path, *parameters: Parameter, overrides: dict[str, Any] | None = None, **fixed: Any) -> Plan:
    study = small_study()
    encoders = {name: dict(chosen) for name, chosen in study.settings.model.encoders.items()}
    for name, value in fixed.items():
        encoders[name]["learning_rate"] = value
    model = study.settings.model.model_copy(update={"encoders": encoders})
    settings = study.settings.model_copy(update={"model": model})
    return make_plan(
        replace(study, space=SearchSpace(parameters), settings=settings), out, "small", overrides or {}
    )


def settings_of_job(plan: Plan, **parameters: Any) -> dict[str, Any]:
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    record = TrialRecord(
        number=0, arm="sd", arm_number=0, state="running", parameters=named, sampled_by="published", epochs={},
        values={}, reason=None, attempts=1,
    )  # fmt: skip
    return JobMaker(plan, Path("data")).trial(record, resumed=False)["settings"]


def test_the_chosen_encoders_rate_stands_in_train_and_no_kind_sees_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, CHOICE, OF_CONV, OF_BERT, bert=3e-5)
    job = settings_of_job(plan, model__encoder="conv", model__encoders__conv__learning_rate=0.02)
    assert job["train"]["learning_rate"] == 0.02
    assert all("learning_rate" not in chosen for chosen in job["model"]["encoders"].values())
    assert settings_of_job(plan, model__encoder="bert")["train"]["learning_rate"] == 3e-5
    plain = plan_of(tmp_path, CHOICE, bert=3e-5)
    assert settings_of_job(plain, model__encoder="conv")["train"]["learning_rate"] == 1e-3


def test_each_encoder_is_searched_in_its_own_range(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, CHOICE, OF_CONV, OF_BERT)
    search = open_search(plan)
    play(search, lambda arm, parameters, epoch: 0.5)
    trials = search.journal.all()
    assert {trial.parameters["model.encoder"] for trial in trials} == {"conv", "bert"}
    for trial in trials:
        encoder = trial.parameters["model.encoder"]
        other = "conv" if encoder == "bert" else "bert"
        rate = plan.with_parameters(trial.parameters).train.learning_rate
        assert rate == trial.parameters[f"model.encoders.{encoder}.learning_rate"]
        assert (1e-3 <= rate <= 1e-1) == (encoder == "conv")
        assert f"model.encoders.{other}.learning_rate" not in trial.parameters


@pytest.mark.parametrize("rate", [0, -1e-3, float("inf"), "fast", None])
def test_a_rate_that_is_none(tmp_path: Path, rate: Any) -> None:
    with pytest.raises(UserError, match=r"small: model.encoders.bert: train.learning_rate: ") as caught:
        plan_of(tmp_path, bert=rate)
    assert "\n" not in str(caught.value)


def test_a_range_that_is_none(tmp_path: Path) -> None:
    below = log_uniform("model.encoders.conv.learning_rate", 1e-3, 1e-1)
    with pytest.raises(UserError, match=r"lstm\.learning_rate: no such setting"):
        plan_of(tmp_path, replace(below, name="model.encoders.lstm.learning_rate"))
    with pytest.raises(UserError, match="learning_rate: "):
        plan_of(tmp_path, replace(below, distribution=choice("x", -1.0, 1.0).distribution))


@pytest.mark.parametrize(
    "own", [(CHOICE, OF_CONV), (CHOICE, OF_BERT), (CHOICE, OF_BERT, OF_CONV)], ids=["conv", "bert", "both"]
)
def test_a_rate_of_all_beside_an_encoders_own_is_refused(tmp_path: Path, own: tuple[Parameter, ...]) -> None:
    with pytest.raises(
        UserError, match=r"search space: train.learning_rate: encoder \w+ has its own"
    ) as caught:
        plan_of(tmp_path, *own, log_uniform(OF_ALL, 1e-4, 1e-1))
    assert "\n" not in str(caught.value)
    for parameter in own[1:]:
        with pytest.raises(UserError, match=r"set model\.encoders"):
            plan_of(tmp_path, CHOICE, parameter, overrides={OF_ALL: 1e-3})


def test_a_rate_of_all_for_the_encoders_without_their_own(tmp_path: Path) -> None:
    others = log_uniform(OF_ALL, 1e-4, 1e-1, when={"model.encoder": "conv"})
    plan = plan_of(tmp_path, CHOICE, OF_BERT, others)
    job = settings_of_job(plan, model__encoder="conv", train__learning_rate=0.05)
    assert job["train"]["learning_rate"] == 0.05
    plan_of(tmp_path, CHOICE, log_uniform(OF_ALL, 1e-4, 1e-1), overrides={OF_ALL: 1e-3})


def test_a_rate_fixed_on_the_command_line_is_no_longer_searched(tmp_path: Path) -> None:
    path = "model.encoders.bert.learning_rate"
    plan = plan_of(tmp_path, CHOICE, OF_BERT, overrides={path: 2e-5})
    assert [parameter.name for parameter in plan.space.parameters] == ["model.encoder"]
    assert settings_of_job(plan, model__encoder="bert")["train"]["learning_rate"] == 2e-5
    assert plan.identity()["settings"]["model"]["encoders"]["bert"]["learning_rate"] == 2e-5
