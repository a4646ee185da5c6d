"""What is to be known of the arms, from the trials to MLflow, the leaderboard and the printed answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution

from sdl_study.arms import ANY, BCE, MULSUPCON, SD, Arm
from sdl_study.record.answer import read_answer
from sdl_study.record.trials import TrialRecord
from sdl_study.report.text import answer_text
from sdl_study.space import Parameter, ParameterValue, SearchSpace
from sdl_study.study.driver import Driver
from sdl_study.study.publish import trial_run
from tests.unit.study.fakes import small_plan
from tests.unit.study.played_finals import ARMS, answer_of, make_finals, opened, play, trained, write

CURVES = {"bce": (0.5, 0.52, 0.515, 0.521), "any": (0.1, 0.3, 0.4, 0.46), "sd": (0.2, 0.2, 0.2, 0.2)}
SHARES = {"bce": 1.0, "any": 0.5, "sd": 0.001}


def test_what_is_to_be_known_of_the_arms_is_in_mlflow_and_in_the_leaderboard(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home, **{"budget.final_seeds": 1}) as driver:
        for number, (arm, curve) in enumerate(CURVES.items()):
            for epoch, value in enumerate(curve, start=1):
                shares = {"train/valid_anchor_fraction": SHARES[arm]}
                driver.journal.report(number, epoch, {"dev/objective": value, "train/loss": 1.0, **shares})
            driver.journal.complete(number)
        finals = make_finals(driver)
        assert finals.declaration.primary_contrast == ("sd", "any")
        play(monkeypatch, finals, trained)
        answer = write(driver, finals)
        assert answer.rising == ("any",)
        assert [row.could_learn for row in answer.table] == [True, True, False, True]
        margins = answer.best.margins
        assert list(margins) == ["label_prior"]
        run = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri).get_run(driver.tracker.parent_id)
        text = answer_text(answer)
        board = pl.read_csv(driver.plan.files.leaderboard)
    tags, found = run.data.tags, run.data.metrics
    assert [tags[f"arm/{arm}/still_rising"] for arm in ARMS] == ["no", "yes", "no"]
    assert [tags[f"arm/{arm}/could_learn"] for arm in ARMS] == ["yes", "yes", "no"]
    assert tags["answer/above_controls"] == ("yes" if margins["label_prior"] > 0 else "no: below label_prior")
    assert found["answer/above/label_prior"] == pytest.approx(margins["label_prior"])
    assert found["arm/any/rise"] == pytest.approx(0.06)
    assert dict(zip(board["arm"], board["still_rising"], strict=True)) == {
        "bce": "no",
        "any": "yes",
        "sd": "no",
    }
    assert text.splitlines()[0].startswith("tiny: sd, the best arm on dev, has test map ")
    assert "any was still rising: longer training may change this" in text


def test_an_arm_under_a_second_name_shows_the_luck_of_the_search(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    assert answer_of(driver, finals).twins == ()
    again = replace(driver.plan, arms=(BCE, ANY, replace(ANY, name="sd")), method=None)
    monkeypatch.setattr(driver, "plan", again)
    answer = answer_of(driver, finals)
    (twin,) = answer.twins
    assert (twin.first, twin.second) == ("any", "sd")
    words = "one arm under two names: the setting chosen for any against the setting chosen for sd"
    assert words in answer_text(answer)
    own = Parameter("loss.normalizer", CategoricalDistribution(("positives", "weights")), arms=("sd",))
    searched = replace(again.space, parameters=(*again.space.parameters, own))
    monkeypatch.setattr(driver, "plan", replace(again, space=searched))
    assert answer_of(driver, finals).twins == ()


def test_where_arms_were_chosen_on_draws_a_control_has_no_dev_beside_theirs(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own is that of the split as it is, and would be compared with theirs."""
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    (kept, drawn) = (answer_of(driver, finals, folds=folds).table for folds in (False, True))
    assert any(row.role == "control" and row.dev is not None for row in kept)
    assert all((row.dev is None) == (row.role == "control") for row in drawn)
    assert [row.dev_of_finals for row in drawn] == [row.dev_of_finals for row in kept]


def test_two_searches_are_the_pairs_of_the_verdict(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(home, **{"budget.searches": 2, "budget.trials": 4}) as driver:
        finals = make_finals(driver)
        assert sorted(slot.seed_number for slot in finals.slots if slot.name == "sd") == [0, 1, 2, 3]
        play(monkeypatch, finals, trained)
        answer = write(driver, finals)
        tags = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri).get_run(driver.tracker.parent_id).data
    assert (answer.searches, len(answer.table)) == (2, 4)
    primary = answer.primary
    assert primary is not None
    assert (primary.first, primary.second, primary.searches, primary.pairs) == ("sd", "any", 2, 2)
    assert primary.seeds == (0, 1, 2, 3)
    assert primary.interval is not None
    assert "primary contrast: sd against any, map (probe)" in answer_text(answer)
    assert ", 2 searches, " in answer_text(answer)
    assert tags.metrics["answer/searches"] == 2
    assert read_answer(driver.plan.files.answer) == answer


@pytest.mark.parametrize(
    ("sampled_by", "arm", "tags"),
    [
        (
            "published",
            MULSUPCON,
            {"sdl.published": "loss.temperature (a paper)", "sdl.own_values": "train.rate"},
        ),
        ("published", SD, {"sdl.published": "nothing", "sdl.own_values": "loss.temperature, train.rate"}),
        ("tpe", MULSUPCON, {}),
    ],
)
def test_the_first_trial_says_what_of_it_was_published(
    sampled_by: str, arm: Arm, tags: dict[str, str], tmp_path: Path
) -> None:
    space = SearchSpace((), origins={"mulsupcon": {"loss.temperature": "a paper"}})
    parameters: dict[str, ParameterValue] = {"loss.temperature": 0.1, "train.rate": 1.0}
    trial = TrialRecord(0, arm.name, 0, "running", parameters, sampled_by, {}, {}, None, 1, search=3)
    found = trial_run(trial, arm, replace(small_plan(tmp_path), space=space)).tags
    assert {key: found[key] for key in ("sdl.published", "sdl.own_values") if key in found} == tags
    assert found["sdl.search"] == "3"
