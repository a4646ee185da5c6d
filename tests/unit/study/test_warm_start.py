"""First trials from an earlier study: equally many of every arm, where parameters match, recorded and shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.files import read_json, write_json
from sdl_study.record.environment import environment
from sdl_study.record.journal import read
from sdl_study.record.reading import read_study
from sdl_study.report.cards import search as search_card
from sdl_study.report.cards.reproduce import start_command
from sdl_study.report.page.frames import StudyFrames
from sdl_study.run import main
from sdl_study.space import log_uniform
from sdl_study.study.plan import Plan, check_resume, make_plan
from sdl_study.study.publish import trial_run
from sdl_study.study.warm_start import with_warm_start
from tests.unit.report.studies import answered, curve, searched
from tests.unit.study.fakes import open_search, play, small_study


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an earlier study, ``small``, of arms any and sd."""
    folder = tmp_path_factory.mktemp("studies")
    answered(searched(folder), lambda arm, seed: 3.0)
    return folder


def new(out: Path, given: str | None = "small", name: str = "next", **overrides: Any) -> Plan:
    return with_warm_start(make_plan(small_study(), out, name, overrides), given)


def begun(plan: Plan) -> Plan:
    """With its record on the disk, and searched."""
    write_json(plan.files.study_json, plan.identity() | {"data_fingerprint": "f" * 64, "terms": "open"})
    play(open_search(plan), curve)
    return plan


def test_every_arm_begins_with_its_best_after_the_published_setting(out: Path) -> None:
    plan = begun(with_warm_start(make_plan(small_study(trials=6), out, "next", {}), "small"))
    assert plan.warm is not None
    earlier = {trial.number: trial for trial in read(out / "small" / "journal.log").all()}
    won = {winner.trial for winner in read_study(replace(plan.files, name="small")).declaration.winners}  # type: ignore[union-attr]
    for arm in ("any", "sd"):
        own = [trial for trial in read(plan.files.journal).all() if trial.arm == arm]
        points = plan.warm.points[arm]
        assert [trial.sampled_by for trial in own][: 1 + len(points)] == ["published"] + ["warm start"] * len(
            points
        )
        assert [trial.parameters for trial in own[1 : 1 + len(points)]] == [p.parameters for p in points]
        assert all(earlier[point.trial].arm == arm for point in points)
        assert earlier[points[0].trial].parameters == points[0].parameters
        published = own[0].parameters
        assert (
            points[0].trial in won
            or earlier[next(t for t in won if earlier[t].arm == arm)].parameters == published
        )
    assert len({len(points) for points in plan.warm.points.values()}) == 1


def test_it_is_recorded_kept_and_shown(out: Path) -> None:
    plan = begun(new(out, name="kept"))
    assert plan.warm is not None
    again = new(out, given=None, name="kept")
    assert again.warm == plan.warm
    check_resume(again, "f" * 64)
    assert new(out, given=str(out / "small"), name="kept").warm == plan.warm
    with pytest.raises(UserError, match="kept began from small"):
        new(out, given="other", name="kept")
    sentence = search_card.card(StudyFrames(read_study(plan.files))).sentence
    assert "best on dev in the study small (its trials any " in sentence
    found = environment("1+abc", "demo", {}, warm_start=plan.warm.study)
    assert "study demo --warm-start small --name kept" in start_command("kept", found)
    record = next(t for t in read(plan.files.journal).all() if t.sampled_by == "warm start")
    point = plan.warm.points[record.arm][record.arm_number - 1]
    assert trial_run(record, plan.arms[0], plan).tags["sdl.warm_start"] == f"small/{point.trial}"


def test_a_driver_that_died_while_queueing_goes_on(out: Path) -> None:
    plan, unbroken = new(out, name="broken"), begun(new(out, name="unbroken"))
    broken = open_search(plan)
    for arm in plan.arm_names:
        broken.journal.optuna_study(arm).enqueue_trial(plan.first_points(arm)[0])
    play(open_search(plan), curve)
    found = [[t.parameters for t in read(p.files.journal).all()] for p in (plan, unbroken)]
    assert found[0] == found[1]


def test_a_value_outside_its_new_range_is_left_to_the_sampler(out: Path) -> None:
    study = small_study()
    narrow = log_uniform("loss.temperature", 0.06, 0.08)
    parameters = tuple(narrow if p.name == narrow.name else p for p in study.space.parameters)
    plan = make_plan(replace(study, space=replace(study.space, parameters=parameters)), out, "narrow", {})
    found = with_warm_start(plan, "small")
    assert found.warm is not None
    assert all("loss.temperature" not in p.parameters for own in found.warm.points.values() for p in own)
    begun(found)
    for trial in read(found.files.journal).all():
        assert 0.06 <= trial.parameters["loss.temperature"] <= 0.08  # type: ignore[operator]


def test_on_other_data_it_says_so(out: Path) -> None:
    plan = new(out, name="elsewhere")
    assert plan.warm is not None
    assert len(list(plan.warm.lines("f" * 64))) == 1
    (first, second) = plan.warm.lines("e" * 64)
    assert "best on dev there (no test result has a part in it)" in first
    assert "was on other data" in second


@pytest.mark.parametrize(
    ("given", "overrides", "words"),
    [
        ("nowhere", {}, "--warm-start: .*there is no study of this name"),
        ("small", {"budget.searches": 2}, "2 searches of an arm would all begin alike"),
        ("small", {"budget.trials": 1}, "give more --trials"),
    ],
)
def test_what_cannot_be_is_one_line(out: Path, given: str, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        new(out, given, "refused", **overrides)
    assert not (out / "refused").exists()


def test_an_arm_without_a_setting_there_is_refused(out: Path) -> None:
    plan = make_plan(small_study(arms=("any", "sd", "all")), out, "more", {})
    with pytest.raises(UserError, match=r"has no setting for all .* every arm gets equally many"):
        with_warm_start(plan, "small")


def test_a_study_that_began_without_one_goes_on_without(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="small began without one; start another with --name"):
        new(out, "next", "small")
    assert main(["study", "demo_coco", "--warm-start", "nowhere", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert "warm_start" not in read_json(out / "small" / "study.json")
