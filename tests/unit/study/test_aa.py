"""The A/A arm: when it runs, on which seeds, that its test labels are counted, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.arms import AGAIN, Arm
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.files import write_json
from sdl_study.record.answer import read_answer
from sdl_study.record.declaration import Declaration, read_declaration
from sdl_study.record.finals import final_slots
from sdl_study.record.identity import differences
from sdl_study.record.journal import read
from sdl_study.report.text import answer_text
from sdl_study.study.final_seeds import SEEDS_WITH_AA, trains_again
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.selection import declare, winners
from sdl_study.workers.events import Failed
from tests.unit.report.studies import searched
from tests.unit.study.fakes import small_plan, small_study
from tests.unit.study.played_finals import ARMS, make_finals, opened, play, trained, write


@pytest.mark.parametrize(
    ("seeds", "searches", "asked", "expected"),
    [
        (4, 1, False, False),
        (5, 1, False, True),
        (1, 5, False, True),
        (2, 2, False, False),
        (1, 1, True, True),
    ],
)
def test_it_is_part_of_a_study_from_five_seeds_on_or_where_it_is_asked_for(
    seeds: int, searches: int, asked: bool, expected: bool, tmp_path: Path
) -> None:
    arms = {"arms": ("any", "sd", "aa")} if asked else {}
    plan = small_plan(tmp_path, {"budget.trials": 10, "budget.searches": searches, **arms})
    assert SEEDS_WITH_AA == 5
    assert trains_again(plan, seeds) is expected


def test_without_a_method_or_beside_an_arm_of_its_name_there_is_none(tmp_path: Path) -> None:
    assert not trains_again(small_plan(tmp_path, arms=("any", "all")), 5)
    named = replace(small_study(), arms=(*small_study().arms, Arm(AGAIN, "sd")))
    assert not trains_again(make_plan(named, tmp_path, "named", {}), 5)
    with pytest.raises(UserError, match="an arm of the study has its name"):
        make_plan(replace(named, aa=True), tmp_path, "named", {})


def test_a_study_that_asks_for_it_is_another_one(tmp_path: Path) -> None:
    plain = small_plan(tmp_path).identity()
    asked = small_plan(tmp_path, {"arms": ("any", "sd", "aa")}).identity()
    assert [arm["name"] for arm in asked["arms"]] == ["any", "sd"]
    assert "aa" not in plain
    assert differences(plain, asked) == ["aa: False → True"]


def declared(plan: Plan) -> Declaration:
    """The best of a played search, declared as the driver declares it."""
    records = read(plan.files.journal).all()
    found = winners(plan, records, JobMaker(plan, plan.files.data))
    return declare(plan, found, records, (), "f" * 64, "1")


def test_few_seeds_leave_the_declaration_as_it_was(tmp_path: Path) -> None:
    declaration = declared(searched(tmp_path, overrides={"budget.final_seeds": 4}))
    assert declaration.aa is None
    assert "aa" not in declaration.to_dict()
    assert Declaration.from_dict(declaration.to_dict()) == declaration


def test_its_finals_are_the_methods_setting_on_seeds_of_their_own(tmp_path: Path) -> None:
    plan = searched(tmp_path, overrides={"budget.final_seeds": 5})
    declaration, maker = declared(plan), JobMaker(plan, plan.files.data)
    slots = final_slots(plan.files, declaration)
    jobs = {slot.key: maker.final(slot).job for slot in slots}
    assert read_declaration(plan.files) == declaration
    assert declaration.aa == "sd"
    again = [slot for slot in slots if slot.name == AGAIN]
    own = [slot for slot in slots if slot.name == "sd"]
    assert [slot.seed_number for slot in again] == [slot.seed_number for slot in own] == list(range(5))
    assert [slot.is_again for slot in again] == [True] * 5
    assert not any(slot.is_again for slot in slots if slot.name != AGAIN)
    for slot, other in zip(again, own, strict=True):
        job, of_method = jobs[slot.key], jobs[other.key]
        assert (job.settings, job.arm) == (of_method.settings, of_method.arm)
        assert job.folder != of_method.folder
    seeds = {jobs[slot.key].seed for slot in again}
    assert len(seeds) == 5
    assert not seeds & {job.seed for key, job in jobs.items() if f"/{AGAIN}/" not in key}


def test_a_study_that_was_declared_without_it_goes_on_without(tmp_path: Path) -> None:
    plan = searched(tmp_path, overrides={"budget.final_seeds": 5})
    before = replace(declared(plan), aa=None)
    write_json(plan.files.declaration, before.to_dict())
    assert declared(plan) == before


def test_every_opening_is_counted_and_the_result_stands_beside_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, **{"budget.final_seeds": 5}) as driver:
        finals = make_finals(driver)
        play(monkeypatch, finals, trained)
        answer = write(driver, finals)
        ledger = read_ledger(driver.data.path)
    assert len(ledger) == len(final_slots(driver.plan.files, finals.declaration)) == 5 * 4 + 1
    assert sum(line.identity.arm == AGAIN for line in ledger) == 5
    assert [row.name for row in answer.table] == [*ARMS, "label_prior"]
    aa = answer.aa
    assert aa is not None
    assert (aa.first, aa.second, aa.seeds) == ("sd", AGAIN, (0, 1, 2, 3, 4))
    assert aa.difference != 0
    assert aa.interval is not None
    assert all(AGAIN not in (c.first, c.second) for c in (*answer.secondary, *answer.twins))
    assert read_answer(driver.plan.files.answer) == answer
    lines = answer_text(answer).splitlines()
    primary = next(n for n, line in enumerate(lines) if line.startswith("primary contrast"))
    assert lines[primary + 1].startswith("A/A: the setting chosen for sd, trained once more on other seeds")
    assert "no difference, as it must be" in lines[primary + 1]
    assert answer_text(replace(answer, exploratory=("f" * 64,))).count("A/A") == 0


def test_a_failed_final_of_it_costs_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, **{"budget.final_seeds": 5}) as driver:
        finals = make_finals(driver)
        play(
            monkeypatch,
            finals,
            lambda work: Failed("setting", "loss") if f"/{AGAIN}/0" in work.job.key else trained(work),
        )
        answer = write(driver, finals)
    assert answer.aa is None
    assert answer.primary is not None
    assert "final of aa, seed 0, failed: loss" in answer_text(answer)
