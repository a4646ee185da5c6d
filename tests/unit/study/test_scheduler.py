"""Where a trial may first be stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.record.trials import TrialRecord
from sdl_study.setting_paths import with_values
from sdl_study.space import Parameter, SearchSpace, choice, uniform
from sdl_study.study.plan import make_plan
from sdl_study.study.search.scheduler import first_rung, goes_on, longest, rungs
from search_spaces.features import STUDY as FEATURES
from search_spaces.text_scratch import STUDY as TEXT
from tests.unit.study.fakes import small_study


def rung(rows: int, *parameters: Parameter, first: Any = "auto", **train: Any) -> int:
    values = {
        "budget.first_rung": first,
        "train.batch_size": 50,
        "train.warmup_fraction": 0.05,
        "train.epochs": 16,
    }
    settings = with_values(
        small_study().settings, values | {f"train.{name}": v for name, v in train.items()}, "test"
    )
    return first_rung(settings, SearchSpace(parameters=parameters, published={}), rows)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (50_000, 1),  # 1,000 steps an epoch, 800 of warm-up
        (5_000, 2),  # 100 steps an epoch
        (2_500, 4),
        (1_000, 8),  # 320 steps in all: half of them
    ],
)
def test_the_first_rung_lies_behind_two_hundred_steps_or_at_half(rows: int, expected: int) -> None:
    assert rung(rows) == expected


def test_the_first_rung_lies_behind_the_warm_up() -> None:
    assert rung(50_000, warmup_fraction=0.2) == 4  # 3,200 of 16,000 steps, and one more
    assert rung(1_000, warmup_fraction=0.75) == 13


def test_the_largest_batch_and_the_longest_warm_up_count() -> None:
    assert rung(5_000, choice("train.batch_size", 10, 100)) == 4
    assert rung(50_000, uniform("train.warmup_fraction", 0.0, 0.2)) == 4


def test_the_longest_training_counts() -> None:
    assert rung(1_000, choice("train.epochs", 8, 32)) == 10  # 200 of 640 steps
    space = SearchSpace(parameters=(choice("train.epochs", 8, 32),), published={})
    assert longest(small_study().settings, space) == 32


def test_a_trial_is_judged_against_those_that_are_as_long() -> None:
    short, other, long = (
        TrialRecord(n, "sd", n, "running", {"train.epochs": epochs}, "tpe", {}, {2: value}, None, 1)
        for n, (epochs, value) in enumerate([(2, 0.9), (8, 0.5), (8, 0.6)])
    )
    assert goes_on(long, 2, [short, other, long], (2, 4), 2)
    assert not goes_on(other, 2, [short, other, long], (2, 4), 2)
    assert (short.length(16), replace(short, parameters={}).length(16)) == (2, 16)


def test_a_length_in_examples_is_refused_where_the_epochs_are_searched(tmp_path: Any) -> None:
    study = replace(
        FEATURES,
        space=replace(FEATURES.space, parameters=(*FEATURES.space.parameters, choice("train.epochs", 4, 8))),
    )
    study = replace(study, space=replace(study.space, published={**study.space.published, "train.epochs": 8}))
    with pytest.raises(UserError, match=r"train\.min_examples, train\.min_steps: the length is searched"):
        make_plan(study, tmp_path, "features", {})


def test_passes_over_a_small_table_count() -> None:
    assert rung(1_000, min_examples=16 * 5_000) == 2
    assert rung(1_000, min_steps=16 * 100) == 2


def test_a_number_is_taken_as_it_is() -> None:
    assert rung(50_000, first=7) == 7


def test_own_data_of_a_thousand_rows_train_for_some_thousand_steps_and_are_not_stopped_in_the_first() -> None:
    for study, largest in ((TEXT, 64), (FEATURES, 256)):
        settings = study.settings
        first = first_rung(settings, study.space, 1_200)
        epochs, passes = settings.train.epochs, settings.train.passes(1_200)
        assert epochs * passes * 1_200 >= 60_000
        assert first * passes * (1_200 // largest) >= 100
        assert rungs(epochs, first, settings.budget.reduction_factor)[0] == first


def test_steps_are_refused_as_a_length_where_the_batch_is_searched(tmp_path: Any) -> None:
    with pytest.raises(UserError, match=r"train\.min_steps: the batch is searched.*give train\.min_examples"):
        make_plan(FEATURES, tmp_path, "features", {"train.min_steps": 100})
    plan = make_plan(FEATURES, tmp_path, "features", {"train.min_steps": 100, "train.batch_size": 64})
    assert plan.settings.train.passes(64) == 118  # of 60,000 examples in eight epochs
