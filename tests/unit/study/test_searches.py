"""Several searches of every arm: independent of each other, each with its winner and finals; one is what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sdl_study.config import BudgetSettings
from sdl_study.errors import UserError
from sdl_study.record.declaration import read_declaration
from sdl_study.record.finals import final_slots
from sdl_study.record.journal import read
from sdl_study.record.outcome import Repeat, write_outcome
from sdl_study.record.trials import leaderboard
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan
from sdl_study.study.search.sampler import PUBLISHED, TPE
from sdl_study.study.selection import declare, repeats, winners
from tests.unit.study.fakes import open_search, play, report, small_plan, start

TWO = {"budget.searches": 2, "budget.trials": 8}


def rising(arm: str, parameters: Mapping[str, Any], epoch: int) -> float:
    return 0.3 + 0.01 * epoch + float(parameters["loss.temperature"])


def searched(out: Path, overrides: Mapping[str, Any] = TWO) -> Plan:
    plan = small_plan(out, overrides)
    play(open_search(plan), rising)
    return plan


def test_every_search_starts_from_the_published_setting_and_asks_its_own(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    records = read(plan.files.journal).all()
    assert [(r.arm, r.search) for r in records[:4]] == [("any", 0), ("sd", 0), ("any", 1), ("sd", 1)]
    assert set(Counter((r.arm, r.search) for r in records).values()) == {4}
    first, second = ([r for r in records if (r.arm, r.search) == ("sd", search)] for search in (0, 1))
    assert first[0].parameters == second[0].parameters
    assert first[0].sampled_by == second[0].sampled_by == PUBLISHED
    assert first[1].parameters != second[1].parameters
    assert [r.sampled_by for r in second].count(TPE) == 2
    assert {row["search"] for row in leaderboard(records)} == {0, 1}


def test_the_first_search_is_that_of_a_study_with_one(tmp_path: Path) -> None:
    plan = searched(tmp_path / "two")
    alone = searched(tmp_path / "one", {"budget.trials": 4})
    of_one = read(alone.files.journal).all()
    first = [record for record in read(plan.files.journal).all() if record.search == 0]
    assert [(r.parameters, r.state) for r in first] == [(r.parameters, r.state) for r in of_one]
    assert "search" not in leaderboard(of_one)[0]


@pytest.mark.parametrize(("overrides", "names"), [(TWO, {"small/sd/0", "small/sd/1"}), ({}, {"small/sd"})])
def test_the_names_of_the_searches(tmp_path: Path, overrides: dict[str, Any], names: set[str]) -> None:
    journal = open_search(small_plan(tmp_path, overrides, arms=("sd",))).journal
    assert {journal.optuna_study(*search).study_name for search in journal.searches} == names


def test_a_broken_study_asks_what_the_unbroken_one_would_have_asked(tmp_path: Path) -> None:
    whole = read(searched(tmp_path / "whole").files.journal).all()
    plan = small_plan(tmp_path / "broken", TWO)
    for stop in (1, 4, 6):
        play(open_search(plan), rising, stop_after=stop)
    play(open_search(plan), rising)
    assert [record.parameters for record in read(plan.files.journal).all()] == [
        record.parameters for record in whole
    ]


def test_rungs_are_those_of_the_search(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, {"budget.searches": 2, "budget.trials": 2}, arms=("sd",)))
    first, _ = start(search, "a") or pytest.fail("no trial")
    assert report(search, first, 1, 0.9)
    search.concurrent = lambda: 2
    second, _ = start(search, "b") or pytest.fail("no trial")
    assert (first.search, second.search) == (0, 1)
    assert report(search, second, 1, 0.1)  # the first at its own rung


def test_seeds_of_searches_are_apart_and_those_of_arms_the_same(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    make, records = JobMaker(plan, plan.files.data), read(plan.files.journal).all()
    seeds = {(r.arm, r.search): make.trial(r, False)["seed"] for r in records}
    selection = {(r.arm, r.search): make.repeat(r, 0).job.seed for r in records}
    for found in (seeds, selection):
        assert found["any", 0] == found["sd", 0] != found["sd", 1] == found["any", 1]
    alone = small_plan(tmp_path / "one")
    assert seeds["any", 0] == JobMaker(alone, alone.files.data).trial(records[0], False)["seed"]


def test_every_search_has_its_winner_and_its_finals(tmp_path: Path) -> None:
    plan = searched(tmp_path, {**TWO, "budget.final_seeds": 2, "budget.selection_seeds": 1})
    records, make = read(plan.files.journal).all(), JobMaker(plan, plan.files.data)
    for item in repeats(plan, records, make):
        write_outcome(item.folder, Repeat(0.5))
    found = winners(plan, records, make)
    assert [(winner.arm, winner.search) for winner in found] == [
        ("any", 0),
        ("sd", 0),
        ("any", 1),
        ("sd", 1),
    ]
    assert len({winner.trial for winner in found}) == 4
    declaration = declare(plan, found, records, ("untrained", "label_prior"), "f", "1")
    assert read_declaration(plan.files) == declaration
    slots = final_slots(plan.files, declaration)
    of = {(s.name, s.seed_number): s.parameters for s in slots if s.role == "final"}
    for winner in found:
        for number in (0, 1):
            assert of[winner.arm, 2 * winner.search + number] == winner.parameters
    assert len(of) == 8
    assert [s.seed_number for s in slots if s.name == "untrained"] == [0, 1, 2, 3]
    means = {arm: (found[place].dev + found[place + 2].dev) / 2 for place, arm in enumerate(("any", "sd"))}
    assert declaration.best_arm_on_dev == max(means, key=lambda arm: means[arm])
    assert {arm: declaration.dev(arm) for arm in means} == pytest.approx(means)
    assert declaration.winner("sd").dev == max(found[1].dev, found[3].dev)


def test_a_search_whose_trials_all_failed_is_named(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    records = [r for r in read(plan.files.journal).all() if (r.arm, r.search) != ("sd", 1)]
    with pytest.raises(UserError, match="arm sd, search 1: no trial has a value"):
        winners(plan, records, JobMaker(plan, plan.files.data))


@pytest.mark.parametrize(("trials", "searches", "enough"), [(4, 3, 6), (2, 5, 5)])
def test_searches_that_cannot_share_the_trials(
    trials: int, searches: int, enough: int, tmp_path: Path
) -> None:
    given = {"budget.trials": trials, "budget.searches": searches}
    with pytest.raises(UserError) as told:
        small_plan(tmp_path, given)
    words = f"{searches} searches cannot share {trials} trials evenly; for example {enough} can be"
    assert str(told.value) == f"--set: budget: {words}"
    assert BudgetSettings(trials=enough, searches=searches).trials_of_search == enough // searches


def test_the_journal_can_be_read_with_optuna_alone(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    backend = JournalFileBackend(str(plan.files.journal))
    storage = JournalStorage(backend)
    study = optuna.load_study(study_name="small/sd/1", storage=storage)
    assert len(study.get_trials()) == 4
