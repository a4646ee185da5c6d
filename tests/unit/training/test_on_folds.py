"""A job on a fold of train and dev: the same examples with their own labels, and a value of another dev."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdl_study.data.folds import Fold
from sdl_study.data.prepared import PreparedData
from sdl_study.testing import run_processes
from sdl_study.training.inputs import Inputs, open_inputs
from tests.unit.training.jobs import SPLIT_SIZES, job, run, run_on_a_rank, settings, write_data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("folds")
    write_data(home / "data")
    return home


def labels_by_row(inputs: Inputs) -> dict[int, list[int]]:
    found = {}
    for rows, labels in ((inputs.train_rows, inputs.train_labels), (inputs.dev_rows, inputs.dev_labels)):
        for place, row in enumerate(rows):
            found[int(row)] = labels[np.array([place])].indices.tolist()
    return found


def test_the_same_examples_with_their_own_labels(home: Path) -> None:
    kept = open_inputs(home / "data", home / "stores", settings())
    folds = [
        open_inputs(home / "data", home / "stores", settings(), Fold(number, 3, 1)) for number in (0, 0, 1)
    ]
    both = SPLIT_SIZES["train"] + SPLIT_SIZES["dev"]
    for fold in folds:
        assert len(fold.train_rows) + len(fold.dev_rows) == both
        assert len(fold.dev_rows) == pytest.approx(both / 3, abs=3)  # whole groups
        assert labels_by_row(fold) == labels_by_row(kept)
        assert np.array_equal(fold.test_rows, kept.test_rows)
    same, again, other = (set(fold.dev_rows.tolist()) for fold in folds)
    assert same == again
    assert not same & other


def test_patients_are_not_torn_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PreparedData.groups
    monkeypatch.setattr(PreparedData, "groups", lambda self, split: real(self, split) // 4)
    data = PreparedData.load(home / "data")
    rows = np.concatenate([data.rows("train"), data.rows("dev")])
    group = dict(
        zip(rows.tolist(), np.concatenate([data.groups("train"), data.groups("dev")]).tolist(), strict=True)
    )
    fold = open_inputs(home / "data", home / "stores", settings(), Fold(2, 4, 3))
    sides = [{group[row] for row in part.tolist()} for part in (fold.train_rows, fold.dev_rows)]
    assert not sides[0] & sides[1]


def test_a_job_trains_on_one_part_and_is_measured_on_the_other(home: Path) -> None:
    kept = job(home / "kept", epochs=1)
    fold = replace(job(home / "fold", epochs=1), fold=(1, 4, 5))
    twice = replace(job(home / "twice", epochs=1), fold=(1, 4, 5))
    (first, _), (second, _), (third, _) = run(kept), run(fold), run(twice)
    assert second == third != first
    (on_two, _) = run_processes(run_on_a_rank, 2, replace(fold, folder=str(home / "two" / "job")).to_dict())
    assert on_two[0]["1"]["dev/map"] == pytest.approx(second[1]["dev/map"], abs=1e-4)
