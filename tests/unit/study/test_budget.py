"""Limits of time: no new trial after them, arms even, time counted over commands, more of it extends a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sdl_study.budget import HOUR, BudgetSettings, Spent
from sdl_study.errors import UserError
from sdl_study.record.declaration import Declaration
from sdl_study.record.identity import differences
from sdl_study.record.journal import read
from sdl_study.record.reading import read_study
from sdl_study.record.status import status_of
from sdl_study.report.cards import search as search_card
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.status import status_text
from sdl_study.run import main
from sdl_study.study.checks import check_gpu_hours
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan
from sdl_study.study.search.searcher import Search
from sdl_study.study.selection import declare, winners
from sdl_study.workers.events import Epoch
from tests.unit.report.studies import answered, prepared, searched
from tests.unit.study.fakes import open_search, small_plan, start

TRIAL = 4 * 600.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A machine on which every epoch takes ten minutes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def curve(arm: str, parameters: Mapping[str, Any], epoch: int) -> float:
    return 0.5 + 0.01 * epoch


def work(search: Search, clock: Clock, trials: int | None = None) -> None:
    """Trials one after another, until there is none to start or so many have ended."""
    for number in range(1000 if trials is None else trials):
        started = start(search, str(number))
        if started is None:
            return
        record = started[0]
        for epoch in range(1 + max(record.epochs, default=0), search.epochs + 1):
            clock.now += 600.0
            metrics = {"dev/map": curve(record.arm, {}, epoch), "train/loss": 1.0, "seconds": 600.0}
            if not search.heard(record.number, Epoch(epoch, metrics)):
                break
        search.ended(str(number), error=False)


def limited(out: Path, **budget: Any) -> Plan:
    """Twenty trials an arm that are never stopped early, and a limit of time."""
    given = {"budget.trials": 20, "budget.first_rung": 4, **{f"budget.{k}": v for k, v in budget.items()}}
    return small_plan(out, given)


def counts(plan: Plan) -> Counter[str]:
    return Counter(trial.arm for trial in read(plan.files.journal).all())


def test_hours_end_the_search_evenly_and_running_trials_end(tmp_path: Path) -> None:
    clock, plan = Clock(), limited(tmp_path, hours=4.5 * TRIAL / HOUR)
    search = open_search(plan, clock=clock)
    work(search, clock)
    assert counts(plan) == {"any": 3, "sd": 2}  # the fifth began within the hours, and ran to its end
    assert all(trial.state == "complete" for trial in search.journal.all())
    assert search.finished
    assert search.ended_by == "hours"


def test_every_arm_has_a_trial_however_short_the_time(tmp_path: Path) -> None:
    clock, plan = Clock(), limited(tmp_path, hours=0.001)
    work(open_search(plan, clock=clock), clock)
    assert counts(plan) == {"any": 1, "sd": 1}


def test_time_is_counted_over_commands_and_more_of_it_goes_on(tmp_path: Path) -> None:
    clock, plan = Clock(), limited(tmp_path, hours=4 * TRIAL / HOUR)
    first = open_search(plan, clock=clock)
    work(first, clock, trials=3)
    started = start(first, "killed")
    assert started is not None
    clock.now += 600.0
    first.heard(started[0].number, Epoch(1, {"dev/map": 0.5, "train/loss": 1.0, "seconds": 600.0}))
    again = Clock()
    again.now = 1e6  # days between the commands do not count
    work(open_search(plan, clock=again), again)
    assert counts(plan) == {"any": 2, "sd": 2}
    assert read(plan.files.journal).seconds == pytest.approx(4 * TRIAL)
    same = open_search(plan, clock=Clock())
    assert same.finished
    more = limited(tmp_path, hours=6 * TRIAL / HOUR)
    assert not differences(plan.identity(), more.identity())
    work(open_search(more, clock=again), again)
    assert counts(plan) == {"any": 3, "sd": 3}


def test_gpu_hours_are_those_of_trials_times_their_gpus(tmp_path: Path) -> None:
    clock, plan = Clock(), limited(tmp_path, gpu_hours=2 * 6 * TRIAL / HOUR)
    search = open_search(plan, clock=clock, gpus=2.0)
    work(search, clock)
    assert counts(plan) == {"any": 3, "sd": 3}
    assert search.ended_by == "gpu_hours"
    assert search.spent.gpu_seconds == 2 * 6 * TRIAL
    assert open_search(plan).ended_by == "gpu_hours"  # from the journal alone


def test_the_number_of_trials_may_come_first(tmp_path: Path) -> None:
    clock, plan = Clock(), small_plan(tmp_path, {"budget.hours": 1000.0})
    search = open_search(plan, clock=clock)
    work(search, clock)
    assert counts(plan) == {"any": 4, "sd": 4}
    assert search.ended_by == "trials"


def declared(plan: Plan, search: Search) -> Declaration:
    trials = search.journal.all()
    found = winners(plan, trials, JobMaker(plan, plan.files.folder))
    return declare(plan, found, trials, (), "f" * 64, "1", search.spent)


def test_the_declaration_says_what_ended_the_search_and_what_every_arm_had(tmp_path: Path) -> None:
    clock, plan = Clock(), limited(tmp_path / "limited", hours=4.5 * TRIAL / HOUR)
    search = open_search(plan, clock=clock)
    work(search, clock)
    found = declared(plan, search)
    assert (found.ended_by, found.trials_per_arm) == ("hours", 2)
    clock, whole = Clock(), small_plan(tmp_path / "whole", {"budget.hours": 1000.0})
    search = open_search(whole, clock=clock)
    work(search, clock)
    found = declared(whole, search)
    assert found.trials_per_arm == 4
    assert "ended_by" not in found.to_dict()  # nor does an older declaration get another digest


def test_page_and_status_say_that_time_ended_the_search(tmp_path: Path) -> None:
    """The played search takes no time; of one hour none is used, then all of it."""
    plan = searched(tmp_path, overrides={"budget.hours": 1.0})
    answered(plan, lambda arm, seed: 3.0)
    card = search_card.card(StudyFrames(read_study(plan.files)))
    assert "Its time is limited too: " in card.sentence
    more = searched(tmp_path / "more", overrides={"budget.hours": 1.0, "budget.trials": 6}, stop_after=8)
    prepared(more)
    open_search(more).journal.note_seconds(HOUR)
    card = search_card.card(StudyFrames(read_study(more.files)))
    assert "The search was ended by its hours (1 of 1 h): how many trials that were depends" in card.sentence
    answered(more, lambda arm, seed: 3.0)
    found = status_of(more.files)
    assert found.state == "finished"
    told = found.to_dict(NOW)
    assert (told["hours"], told["search_ended_by"]) == ({"used": 1.0, "budget": 1.0}, "hours")
    assert told["seconds_left"] is None
    assert "1 of 1 h" in status_text([found], NOW)


def test_time_left_is_that_of_the_limit_that_comes_first() -> None:
    spent = Spent(3, 1800.0, 3600.0)
    assert BudgetSettings().seconds_left(spent) == float("inf")
    assert BudgetSettings(hours=2.0).seconds_left(spent) == 5400.0
    assert BudgetSettings(hours=2.0, gpu_hours=2.0).seconds_left(spent) == 1800.0
    assert BudgetSettings(gpu_hours=0.5).seconds_left(spent) == 0.0
    assert spent.words(BudgetSettings(hours=2.0, gpu_hours=8.0)) == "0.5 of 2 h, 1 of 8 GPU hours"


def test_gpu_hours_without_a_gpu_are_refused() -> None:
    check_gpu_hours(BudgetSettings(gpu_hours=1.0), "small", gpus=True)
    with pytest.raises(UserError, match=r"small: --gpu-hours .* use --hours"):
        check_gpu_hours(BudgetSettings(gpu_hours=1.0), "small", gpus=False)


@pytest.mark.parametrize("option", [["--hours", "0"], ["--gpu-hours", "-1"], ["--hours", "nan"]])
def test_a_mistake_is_one_line_and_nothing_is_written(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "demo_coco", *option, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
