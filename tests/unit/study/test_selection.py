"""From trials to a declaration: winners, the contrast, and a declaration that is kept or superseded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.record.declaration import Declaration, Winner, read_declaration
from sdl_study.record.finals import final_slots
from sdl_study.record.findings import VALID_ANCHORS
from sdl_study.record.outcome import Failure, Repeat, write_outcome
from sdl_study.record.trials import State, TrialRecord, candidates
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan
from sdl_study.study.selection import (
    declare,
    final_seeds,
    primary_contrast,
    repeats,
    unable_arms,
    winners,
)
from tests.unit.study.fakes import small_plan


def trial(
    number: int,
    arm: str,
    value: float | None,
    state: State = "complete",
    metrics: Mapping[str, float] | None = None,
) -> TrialRecord:
    epochs = {} if value is None else {1: {"dev/map": value, **(metrics or {})}}
    values = {} if value is None else {1: value}
    return TrialRecord(number, arm, number, state, {"loss.temperature": 0.1}, "tpe", epochs, values, None, 1)


def found(**dev: float) -> list[Winner]:
    return [Winner(arm, number, {}, value) for number, (arm, value) in enumerate(dev.items())]


def maker(plan: Plan) -> JobMaker:
    return JobMaker(plan, plan.files.data)


def test_candidates_complete_ones_first_then_value_then_number() -> None:
    records = [
        trial(0, "sd", 0.3),
        trial(1, "sd", 0.9, "pruned"),
        trial(2, "sd", 0.5),
        trial(3, "sd", 0.5),
        trial(4, "sd", None, "failed"),
        trial(5, "any", 0.8),
    ]
    assert [record.number for record in candidates(records, "sd", 9)] == [2, 3, 0, 1]
    assert [record.number for record in candidates(records, "sd", 2)] == [2, 3]


def test_an_arm_whose_trials_all_failed(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    failed = replace(trial(1, "sd", None, "failed"), reason="NonFiniteLoss at step.py:1", failure="setting")
    with pytest.raises(UserError, match=r"arm sd: every trial failed: NonFiniteLoss at step\.py:1"):
        winners(plan, [trial(0, "any", 0.5), failed], maker(plan))
    with pytest.raises(UserError, match="arm sd: no trial has a value"):
        winners(plan, [trial(0, "any", 0.5)], maker(plan))


def test_the_winner_is_the_best_mean_over_search_and_selection_seeds(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"budget.selection_seeds": 2, "budget.selection_top": 2}, arms=("sd",))
    records = [trial(0, "sd", 0.60), trial(1, "sd", 0.58), trial(2, "sd", 0.50)]
    work = repeats(plan, records, maker(plan))
    assert [item.job.key for item in work] == [
        f"small/selection/{trial_number}/{seed}" for trial_number in (0, 1) for seed in (0, 1)
    ]
    for item, value in zip(work, (0.40, 0.44, 0.58, 0.57), strict=True):
        write_outcome(item.folder, Repeat(value))
    (winner,) = winners(plan, records, maker(plan))
    assert winner.trial == 1
    assert winner.dev == pytest.approx((0.58 + 0.58 + 0.57) / 3)


def test_a_trial_that_failed_on_a_selection_seed_stands_behind_those_that_did_not(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"budget.selection_seeds": 2, "budget.selection_top": 2}, arms=("sd",))
    records = [trial(0, "sd", 0.70), trial(1, "sd", 0.65)]
    diverged = Failure("NonFiniteLoss at step.py:1")
    outcomes = (diverged, Repeat(0.9), Repeat(0.6), Repeat(0.6))
    for item, outcome in zip(repeats(plan, records, maker(plan)), outcomes, strict=True):
        write_outcome(item.folder, outcome)
    (winner,) = winners(plan, records, maker(plan))
    assert winner.trial == 1
    (first, *_) = repeats(plan, records, maker(plan))
    assert first.outcome == diverged


FOLDED = {"budget.selection_seeds": 1, "budget.selection_top": 1, "budget.selection_folds": 3}


def on_folds(plan: Plan, records: list[TrialRecord], curves: Mapping[int, list[list[float]]]) -> Winner:
    """Who is chosen where the trials' repeats had these curves on the folds."""
    make = JobMaker(plan, plan.files.data, folds=True)
    assert len(repeats(plan, records, make)) == sum(map(len, curves.values()))
    for number, of_folds in curves.items():
        for fold, values in enumerate(of_folds):
            write_outcome(make.repeat(records[number], fold).folder, Repeat(max(values), values))
    (winner,) = winners(plan, records, make)
    return winner


@pytest.mark.parametrize(
    ("others", "chosen", "dev"),
    [([[0.70], [0.59], [0.60]], 1, 0.63), ([[0.70], [0.55], [0.58]], 0, 0.62)],
)
def test_on_folds_their_mean_chooses_and_the_published_setting_is_among_them(
    others: list[list[float]], chosen: int, dev: float, tmp_path: Path
) -> None:
    plan = small_plan(tmp_path, FOLDED, arms=("sd",))
    records = [trial(0, "sd", 0.30), trial(1, "sd", 0.90)]  # what they reached in the search does not count
    winner = on_folds(plan, records, {0: [[0.64], [0.60], [0.62]], 1: others})
    assert (winner.trial, winner.dev) == (chosen, pytest.approx(dev))


def test_on_folds_the_epoch_is_the_best_of_all_of_them_together(tmp_path: Path) -> None:
    """Each at its own best epoch, trial 1 would have .70 on every fold."""
    plan = small_plan(tmp_path, FOLDED, arms=("sd",))
    curves = {
        0: [[0.60, 0.64], [0.60, 0.64], [0.60, 0.64]],
        1: [[0.70, 0.50], [0.50, 0.70], [0.50, 0.70]],
    }
    winner = on_folds(plan, [trial(0, "sd", 0.5), trial(1, "sd", 0.9)], curves)
    assert (winner.trial, winner.dev) == (0, pytest.approx(0.64))


def test_on_folds_a_published_setting_that_was_stopped_is_not_tried_again(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, FOLDED, arms=("sd",))
    records = [trial(0, "sd", 0.3, "pruned"), trial(1, "sd", 0.9)]
    assert on_folds(plan, records, {1: [[0.5], [0.5], [0.5]]}).trial == 1


@pytest.mark.parametrize(
    "curve", [(), [0.1, 0.7]], ids=["without curves", "one among them with a part of it"]
)
def test_on_folds_repeats_of_an_earlier_version_count_by_their_best_epochs(
    curve: list[float], tmp_path: Path
) -> None:
    plan = small_plan(tmp_path, FOLDED, arms=("sd",))
    make, records = JobMaker(plan, plan.files.data, folds=True), [trial(0, "sd", 0.8)]
    outcomes = Repeat(0.5), Repeat(0.6), Repeat(0.7, curve)
    for item, outcome in zip(repeats(plan, records, make), outcomes, strict=True):
        write_outcome(item.folder, outcome)
    (winner,) = winners(plan, records, make)
    assert winner.dev == pytest.approx(0.6)


@pytest.mark.parametrize(("folds", "repeated"), [(False, 1), (True, 3)])
def test_the_declaration_says_on_how_many_seeds_was_chosen(
    folds: bool, repeated: int, tmp_path: Path
) -> None:
    plan, records = small_plan(tmp_path, FOLDED, arms=("sd",)), [trial(0, "sd", 0.5)]
    assert declare(plan, found(sd=0.5), records, (), "f", "1", folds=folds).selection_seeds == repeated


def test_seeds_of_search_selection_and_finals_are_disjoint_and_the_same_in_every_arm(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"budget.selection_seeds": 3})
    make = maker(plan)
    search = {make.trial(trial(number, arm, 0.5), False)["seed"] for number, arm in enumerate(("any", "sd"))}
    selection = {
        arm: [make.repeat(trial(number, arm, 0.5), k).job.seed for k in range(3)]
        for number, arm in enumerate(("any", "sd"))
    }
    seeded = small_plan(tmp_path, {"budget.final_seeds": 3})
    slots = final_slots(seeded.files, declared(seeded))
    final = {
        arm: [make.final(slot).job.seed for slot in slots if slot.role == "final" and slot.name == arm]
        for arm in ("any", "sd")
    }
    assert len(search) == 1
    assert selection["any"] == selection["sd"]
    assert final["any"] == final["sd"]
    assert len({*search, *selection["sd"], *final["sd"]}) == 7


@pytest.mark.parametrize(
    ("split", "dev", "folded"),
    [("auto", 199, True), ("auto", 200, False), ("kept", 13, False), ("folds", 5_000, True)],
)
def test_with_a_small_dev_every_selection_seed_has_a_fold(
    split: str, dev: int, folded: bool, tmp_path: Path
) -> None:
    plan = small_plan(tmp_path, {"budget.selection_seeds": 3, "budget.selection_split": split})
    budget = plan.settings.budget
    assert budget.uses_folds(dev) == folded
    assert budget.repeats(folded) == (5 if folded else 3)
    make = JobMaker(plan, plan.files.data, folds=folded)
    folds = {
        arm: [make.repeat(trial(number, arm, 0.5), k).job.fold for k in range(3)]
        for number, arm in enumerate(("any", "sd"))
    }
    assert folds["any"] == folds["sd"]  # arms are compared on the same splits
    assert len(set(folds["any"])) == (3 if folded else 1)
    assert (folds["any"][0] is None) == (not folded)
    assert make.trial(trial(0, "sd", 0.5), False)["fold"] is None
    assert all(make.final(slot).job.fold is None for slot in final_slots(plan.files, declared(plan)))


@pytest.mark.parametrize(
    ("dev", "contrast"),
    [
        ({"bce": 0.3, "any": 0.5, "sd": 0.4, "sd_weighted": 0.9}, ("sd", "any")),
        ({"sd": 0.4, "sd_weighted": 0.9}, None),
        ({"bce": 0.3, "any": 0.5}, None),
    ],
)
def test_the_contrast_is_the_method_against_the_best_arm_on_dev_that_is_no_variant_of_it(
    dev: dict[str, float], contrast: tuple[str, str] | None, tmp_path: Path
) -> None:
    plan = small_plan(tmp_path, arms=tuple(dev))
    assert primary_contrast(plan, found(**dev)) == contrast


def test_another_arm_may_be_the_method(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, {"method": "any"}, arms=("bce", "any", "sd"))
    assert primary_contrast(plan, found(bce=0.3, any=0.5, sd=0.4)) == ("any", "sd")


def declared(plan: Plan, *, fingerprint: str = "f", version: str = "1", **dev: float) -> Declaration:
    chosen = found(**(dev or {"any": 0.5, "sd": 0.4}))
    records = [trial(winner.trial, winner.arm, winner.dev) for winner in chosen]
    return declare(plan, chosen, records, ("untrained",), fingerprint, version)


def test_a_declaration_is_kept_while_its_winners_data_and_seeds_are_the_same(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    first = declared(plan)
    assert read_declaration(plan.files) == first
    assert first.primary_contrast == ("sd", "any")
    extended = small_plan(tmp_path, {"budget.trials": 9})
    assert declared(extended, version="2") == first
    assert declared(extended).sha == first.sha


@pytest.mark.parametrize("change", [{"any": 0.5, "sd": 0.45}, {"fingerprint": "g"}])
def test_another_declaration_supersedes_and_the_old_one_is_kept(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    plan = small_plan(tmp_path)
    first = declared(plan)
    second = declared(plan, **change)
    assert second.sha != first.sha
    assert read_declaration(plan.files) == second
    (old,) = plan.files.folder.glob("declaration-superseded-*.json")
    assert first.sha[:12] in old.name


def test_finals_of_another_declaration_have_another_folder(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    first, second = declared(plan), declared(plan, fingerprint="g")
    folders = {slot.folder for each in (first, second) for slot in final_slots(plan.files, each)}
    assert len(folders) == 2 * len(final_slots(plan.files, first))


def test_an_arm_that_could_not_learn_is_not_what_the_method_is_compared_with(tmp_path: Path) -> None:
    plan, chosen = (
        small_plan(tmp_path, arms=("bce", "any", "all", "sd")),
        found(bce=0.3, any=0.4, all=0.6, sd=0.5),
    )
    anchors = {"bce": 1.0, "any": 0.9, "all": 0.002, "sd": 0.9}
    records = [
        trial(winner.trial, winner.arm, winner.dev, metrics={VALID_ANCHORS: anchors[winner.arm]})
        for winner in chosen
    ]
    assert unable_arms(chosen, records) == ("all",)
    declaration = declare(plan, chosen, records, (), "f", "1")
    assert declaration.primary_contrast == ("sd", "any")
    assert declaration.best_arm_on_dev == "all"
    assert primary_contrast(plan, chosen, ("bce", "any", "all")) is None


def test_a_declaration_from_before_there_were_searches_keeps_its_hash() -> None:
    declaration = Declaration(
        study="s", winners=(Winner("any", 0, {"loss.temperature": 0.07}, 0.5), Winner("sd", 1, {}, 0.4)),
        best_arm_on_dev="any", method="sd", variants=("sd",), primary_contrast=("sd", "any"),
        primary_metric="test/map", primary_stage="probe", controls=("untrained",), study_seed=0, final_seeds=2,
        selection_seeds=1, trials_per_arm=4, epochs=8, data_fingerprint="f", code_version="1",
    )  # fmt: skip
    assert declaration.sha == "e65126b7c4ebfeefbb857bab3505f120635be66d2a9c61ece9a606b5ba433e66"
    assert replace(declaration, searches=2).sha != declaration.sha
    assert not replace(declaration, searches=2).promises_the_same(declaration)
    assert Declaration.from_dict(declaration.to_dict()) == declaration


@pytest.mark.parametrize(
    ("seconds", "searches", "seeds"), [(59.0, 1, 10), (61.0, 1, 3), (59.0, 4, 3), (61.0, 4, 1)]
)
def test_the_number_of_final_seeds_follows_from_how_long_trials_took(
    seconds: float, searches: int, seeds: int, tmp_path: Path
) -> None:
    plan = small_plan(tmp_path, {"budget.final_seeds": "auto", "budget.searches": searches})
    chosen = found(any=0.5, sd=0.4)
    epoch = seconds / plan.settings.train.epochs  # the only one that they have run
    records = [
        trial(0, "any", 0.5, metrics={"seconds": 1.0}),
        trial(1, "sd", 0.4, "pruned", {"seconds": epoch}),
    ]
    assert final_seeds(plan, chosen, records) == seeds
    declaration = declare(plan, chosen, records, (), "f", "1")
    assert declaration.final_seeds == seeds
    slower = [replace(record, epochs={1: {"seconds": 1e6}}) for record in records]
    assert final_seeds(plan, chosen, slower) == seeds  # what was declared stays
    assert declare(plan, chosen, slower, (), "f", "1") == declaration


@pytest.mark.parametrize("given", [0, -1, "many", 2.5, True, None])
def test_what_is_no_number_of_final_seeds(given: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget\.final_seeds: is a whole number from 1 on, or 'auto'"):
        small_plan(tmp_path, {"budget.final_seeds": given})
