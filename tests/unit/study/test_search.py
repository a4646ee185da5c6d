"""The search: arms in turn, states told apart, resumed as if never broken, and better than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sdl_study.errors import UserError
from sdl_study.record.journal import DriverJournal
from sdl_study.study.search.sampler import PUBLISHED, STARTUP, TPE, sampler_for, startup_trials
from sdl_study.workers.events import Failed
from tests.unit.study.fakes import Watcher, open_search, play, report, small_plan, start


def rising(arm: str, parameters: Mapping[str, Any], epoch: int) -> float:
    """Best near a learning rate of 0.01; every epoch helps."""
    return 0.5 - 0.1 * abs(math.log10(parameters["train.learning_rate"]) + 2) + 0.01 * epoch


def states(journal: DriverJournal, arm: str) -> Counter[TrialState]:
    return Counter(trial.state for trial in journal.optuna_study(arm).get_trials())


def test_arms_are_asked_in_turn_and_get_the_same_number(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path))
    play(search, rising)
    records = search.journal.all()
    assert [record.number for record in records] == list(range(8))
    assert [record.arm for record in records] == ["any", "sd"] * 4
    assert [record.arm_number for record in records] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_budget_that_ends_early_ends_evenly(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, arms=("any", "sd", "all")))
    play(search, rising, stop_after=7)
    counts = Counter(record.arm for record in search.journal.all())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_trial_0_of_an_arm_is_the_published_setting(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path))
    play(search, rising)
    for arm in ("any", "sd"):
        first = search.journal.of_arm(arm)[0]
        assert first.sampled_by == PUBLISHED
        assert first.parameters == {
            "model.encoder": "conv",
            "train.learning_rate": 1e-3,
            "loss.temperature": 0.07,
        }


@pytest.mark.parametrize("trials", [2, 3, 4, 6, 9, 40])
def test_a_third_of_the_trials_comes_from_the_fitted_model(trials: int) -> None:
    assert trials - startup_trials(trials) >= trials / 3
    assert startup_trials(trials) <= 10


def test_sampled_by_says_who_asked(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, trials=6))
    play(search, rising)
    for arm in ("any", "sd"):
        names = [record.sampled_by for record in search.journal.of_arm(arm)]
        assert names == [PUBLISHED, *[STARTUP] * 3, *[TPE] * 2]


def test_inactive_parameters_are_absent(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, trials=12))
    play(search, rising)
    for record in search.journal.all():
        has_dropout = "model.encoders.bert.dropout" in record.parameters
        assert has_dropout == (record.parameters["model.encoder"] == "bert")


def test_complete_pruned_and_failed_are_told_apart(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, arms=("sd",), trials=3))
    for number, value in enumerate((0.5, 0.1)):
        record, _ = start(search, f"tune-{number}") or pytest.fail("no trial")
        for epoch in range(1, 5):
            if not report(search, record, epoch, value):
                assert epoch == 1  # the first rung
                break
        search.ended(f"tune-{number}", error=False)
    record, _ = start(search, "tune-2") or pytest.fail("no trial")
    assert not search.heard(record.number, Failed("setting", "NonFiniteLoss at loop.py:1"))
    search.ended("tune-2", error=False)
    assert states(search.journal, "sd") == {TrialState.COMPLETE: 1, TrialState.PRUNED: 1, TrialState.FAIL: 1}
    told = {record.number: (record.state, record.objective, record.reason) for record in search.journal.all()}
    assert told == {
        0: ("complete", 0.5, None),
        1: ("pruned", 0.1, None),
        2: ("failed", None, "NonFiniteLoss at loop.py:1"),
    }
    assert search.finished  # a failed trial counts when the machine was not the cause


def test_the_objective_is_the_best_epoch_so_far(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, arms=("sd",), trials=1))
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    for epoch, value in enumerate((0.2, 0.6, 0.4, 0.6), start=1):
        assert report(search, record, epoch, value)
    search.ended("tune-0", error=False)
    record = search.journal.get(0)
    assert (record.objective, record.best_epoch) == (0.6, 2)
    assert search.journal.optuna_study("sd").best_value == 0.6
    assert record.values == {1: 0.2, 2: 0.6, 3: 0.6, 4: 0.6}


def test_an_interrupted_trial_goes_on_first_under_its_own_number(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path))
    play(search, rising, stop_after=3)
    running, _ = start(search, "tune-killed") or pytest.fail("no trial")
    report(search, running, 1, rising(running.arm, running.parameters, 1))
    # The driver is killed here: nothing of it is left but the journal.
    again = open_search(small_plan(tmp_path))
    resumed = start(again, "tune-0")
    assert resumed is not None
    assert resumed[0].number == running.number
    assert resumed[1] is True
    assert resumed[0].parameters == running.parameters
    assert resumed[0].attempts == 2
    assert report(again, running, 1, 0.9)  # the epoch that was told twice is not written twice
    assert again.journal.get(running.number).epochs[1] == running_metrics(running.arm, running.parameters)
    again.ended("tune-0", error=True)
    assert again.journal.get(running.number).state == "running"  # a command of its own counts from one
    once_more = start(again, "tune-1")
    assert once_more is not None
    assert (once_more[0].number, once_more[0].attempts) == (running.number, 3)
    again.ended("tune-1", error=True)
    assert again.journal.get(running.number).state == "failed"  # the second of this command's two attempts


def test_a_trial_that_is_over_gives_its_group_back_whatever_became_of_its_process(tmp_path: Path) -> None:
    search, released = open_search(small_plan(tmp_path, arms=("sd",), trials=4)), []
    search.release = released.append
    whole, _ = start(search, "tune-0") or pytest.fail("no trial")
    for epoch in range(1, search.epochs + 1):
        report(search, whole, epoch, 0.9)
    assert released == []
    search.ended("tune-0", error=False)
    assert released == ["small/trial/0"]

    stopped, _ = start(search, "tune-1") or pytest.fail("no trial")
    while report(search, stopped, 1 + len(search.journal.get(1).epochs), 0.1):
        pass
    search.ended("tune-1", error=False)
    assert search.journal.get(1).state == "pruned"
    assert released[1:] == ["small/trial/1"]

    start(search, "tune-2")
    search.ended("tune-2", error=True)
    assert released[2:] == []  # it goes on, and its group with it
    start(search, "tune-3")
    search.ended("tune-3", error=True)
    assert search.journal.get(2).state == "failed"
    assert released[2:] == ["small/trial/2"]


def test_where_no_group_can_run_any_more_none_is_given_back(tmp_path: Path) -> None:
    search, released = open_search(small_plan(tmp_path, arms=("sd",))), []
    search.release = released.append
    start(search, "tune-0")
    search.aborted = lambda: True
    search.ended("tune-0", error=True)
    assert released == []


def running_metrics(arm: str, parameters: Mapping[str, Any]) -> dict[str, float]:
    return {"dev/map": rising(arm, parameters, 1), "train/loss": 1.0}


def test_a_broken_study_asks_what_the_unbroken_one_would_have_asked(tmp_path: Path) -> None:
    whole = open_search(small_plan(tmp_path / "whole", trials=6))
    play(whole, rising)
    for stop in (1, 2, 3, 4):
        play(open_search(small_plan(tmp_path / "broken", trials=6)), rising, stop_after=stop)
    broken = open_search(small_plan(tmp_path / "broken", trials=6))
    play(broken, rising)
    assert [record.parameters for record in broken.journal.all()] == [
        record.parameters for record in whole.journal.all()
    ]


def test_a_trial_that_was_half_asked_is_asked_to_its_end(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, arms=("sd",))
    play(open_search(plan), rising, stop_after=2)
    killed = open_search(plan)
    study = killed.journal.optuna_study("sd")
    study.sampler, _ = sampler_for(study, 0, "sd", 2, 4)
    study.ask().suggest_categorical("model.encoder", ("conv", "bert"))
    again = open_search(plan)
    play(again, rising)
    assert [record.arm_number for record in again.journal.of_arm("sd")] == [0, 1, 2, 3]
    assert states(again.journal, "sd")[TrialState.RUNNING] == 0


def test_what_the_machine_ended_does_not_count(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path, arms=("sd",), trials=2))
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    search.heard(record.number, Failed("machine", "a group went away", attempts=2))
    search.ended("tune-0", error=False)
    play(search, rising)
    assert Counter(record.state for record in search.journal.all())["failed"] == 1
    assert sum(record.state != "failed" for record in search.journal.all()) == 2


def test_a_search_without_any_group_ends_and_leaves_its_trials_to_the_next_command(tmp_path: Path) -> None:
    """Trials that the machine ends are not counted: without this, a broken machine would be asked for ever."""
    search = open_search(small_plan(tmp_path, arms=("sd",)))
    record, _ = start(search, "tune-0") or pytest.fail("no trial")
    report(search, record, 1, 0.5)
    search.aborted = lambda: True
    assert not search.finished
    assert not search.heard(record.number, Failed("machine", "no group starts"))
    search.ended("tune-0", error=False)
    assert search.finished
    assert start(search, "tune-1") is None
    assert search.journal.get(record.number).state == "running"
    again = open_search(small_plan(tmp_path, arms=("sd",)))
    play(again, rising)
    assert [found.state for found in again.journal.all()].count("failed") == 0
    assert again.journal.get(record.number).state in ("complete", "pruned")


def test_everybody_is_told_once(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path))
    play(search, rising)
    (watcher,) = search.observers
    assert isinstance(watcher, Watcher)
    assert max(Counter(watcher.told).values()) == 1
    ended = [number for what, number in watcher.told if what == "ended"]
    assert sorted(ended) == list(range(8))


def test_no_more_trials_at_a_time_than_groups(tmp_path: Path) -> None:
    search = open_search(small_plan(tmp_path), concurrent=2)
    assert [start(search, name) is not None for name in ("a", "b", "c")] == [True, True, False]


def test_how_many_trials_wait_for_groups_is_told_now_and_then(tmp_path: Path) -> None:
    """A cluster that can add machines adds them for these."""
    search = open_search(small_plan(tmp_path), concurrent=1)
    wanted: list[int] = []
    search.wants = wanted.append
    start(search, "a")
    whole = search.trials * len(search.journal.searches)
    assert [start(search, "b") for _ in range(3)] == [None] * 3
    assert wanted == [whole - 1]


def test_arms_do_not_see_each_other(tmp_path: Path) -> None:
    """What one arm reaches moves neither another arm's rungs nor its samples."""

    def with_great_any(arm: str, parameters: Mapping[str, Any], epoch: int) -> float:
        return rising(arm, parameters, epoch) + (0.4 if arm == "any" else 0.0)

    searches = []
    for name, curve in (("one", rising), ("two", with_great_any)):
        searches.append(open_search(small_plan(tmp_path / name, trials=6)))
        play(searches[-1], curve)
    one, two = (search.journal.of_arm("sd") for search in searches)
    assert [(record.parameters, record.state) for record in one] == [
        (record.parameters, record.state) for record in two
    ]


def bowl(parameters: Mapping[str, Any]) -> float:
    """A function of one switch and two logarithmic numbers; 0 at its best."""
    rate, temperature = (
        math.log10(parameters["train.learning_rate"]),
        math.log10(parameters["loss.temperature"]),
    )
    wrong_encoder = parameters["model.encoder"] == "bert"
    return -((rate + 2.2) ** 2) - 2 * (temperature + 0.9) ** 2 - 0.5 * wrong_encoder


def test_the_search_beats_random_search(tmp_path: Path) -> None:
    """40 trials on a fixed function, ten seeds, against the same space asked at random."""
    wins, space = 0, small_plan(tmp_path / "random").space
    for seed in range(10):
        search = open_search(small_plan(tmp_path / str(seed), arms=("sd",), trials=40, epochs=1, seed=seed))
        play(search, lambda arm, parameters, epoch: bowl(parameters))
        ours = max(record.objective or -math.inf for record in search.journal.all())
        random = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
        random.optimize(lambda trial: bowl(space.suggest(trial, "sd", {})), n_trials=40)
        wins += ours > random.best_value
    assert wins >= 8


@pytest.mark.parametrize("kept", [1, 20, 500])
def test_a_torn_last_line_of_the_journal_costs_only_what_it_said(tmp_path: Path, kept: int) -> None:
    plan = small_plan(tmp_path)
    search = open_search(plan)
    play(search, lambda arm, parameters, epoch: 0.5, stop_after=2)
    before = search.journal.all()
    journal = plan.files.journal
    whole = journal.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    journal.write_bytes(whole[:last] + (whole[last:] * 9)[:kept].replace(b"\n", b" "))
    again = open_search(plan).journal.all()
    assert [record.number for record in again] == [record.number for record in before]
    assert journal.read_bytes().startswith(whole[:last])
    play(open_search(plan), lambda arm, parameters, epoch: 0.5)
    assert len(open_search(plan).journal.all()) == 8


def test_a_journal_that_is_damaged_in_the_middle_is_one_line(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    play(open_search(plan), lambda arm, parameters, epoch: 0.5, stop_after=1)
    lines = plan.files.journal.read_text().splitlines(keepends=True)
    plan.files.journal.write_text("".join([*lines[:2], lines[2][:10] + "\n", *lines[3:]]))
    with pytest.raises(UserError, match=r"journal\.log: damaged in the middle"):
        open_search(plan)
