"""Controls that the driver runs itself: which data get which, and what a logistic regression on features reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sdl_study.config import DataSettings, ModelSettings, ProbeSettings, Settings, TrainSettings
from sdl_study.data.prepared import PreparedData
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.record.outcome import Result
from sdl_study.study.controls import controls_of, run_control

SIZES = {"train": 200, "dev": 80, "test": 60}
LABELS = 4


def features_data(out: Path, informative: bool = True, **changes: Any) -> PreparedData:
    """Badly scaled features, one of them constant; each label depends on two of them, or on none."""
    rng = np.random.default_rng(3)
    count = sum(SIZES.values())
    values = rng.normal(size=(count, 12))
    weights = rng.normal(size=(12, LABELS)) * informative
    truth = values @ weights + rng.normal(size=(count, LABELS)) > 1.0
    features = (values * np.logspace(-6, 6, 12) + 7).astype(np.float32)
    features[:, 3] = 2.5
    names = [f"example {i}" for i in range(count)]
    index = pl.DataFrame(
        {
            "source_id": names,
            "source_group": names,
            "split": [split for split, size in SIZES.items() for _ in range(size)],
            "labels": [np.flatnonzero(row).tolist() for row in truth],
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    codes = [f"L{label}" for label in range(LABELS)]
    given: dict[str, Any] = {"modality": "features", "terms": "open", "index": index, **changes}
    of_features = given["modality"] == "features"
    made = Preparation(
        name="small", label_codes=codes, label_names=codes, split_origin="by the test", source={},
        features=features if of_features else None, **given,
    )  # fmt: skip
    write_prepared(out, made, [] if of_features else [pl.DataFrame({"text": names})])
    return PreparedData.load(out)


def settings(**changes: Any) -> Settings:
    return Settings(
        data=DataSettings(name="small", path="unused"),
        model=ModelSettings(encoder="mlp", encoders={"mlp": {"kind": "mlp"}}),
        train=TrainSettings(epochs=1),
        **changes,
    )


def raw(data: PreparedData, folder: Path, **changes: Any) -> Result:
    return run_control("raw", data, settings(**changes), folder)


def test_each_control_goes_with_the_inputs_that_it_reads(tmp_path: Path) -> None:
    wanted = ("untrained", "raw", "label_prior", "tfidf")
    of_features = features_data(tmp_path / "features")
    of_texts = features_data(tmp_path / "texts", modality="text")
    assert controls_of(of_features, wanted) == ("untrained", "raw", "label_prior")
    assert controls_of(of_texts, wanted) == ("untrained", "label_prior", "tfidf")
    assert controls_of(of_texts, settings().controls) == ("untrained", "label_prior", "tfidf")
    assert "raw" in controls_of(of_features, settings().controls)


def test_raw_learns_from_standardised_features_and_beats_the_prior(tmp_path: Path) -> None:
    data = features_data(tmp_path / "data")
    found = raw(data, tmp_path / "raw")
    prior = run_control("label_prior", data, settings(), tmp_path / "prior")
    assert found.metrics["dev/map"] > prior.metrics["dev/map"] + 0.2
    written = np.load(tmp_path / "raw" / SCORES_FILE)
    scores = written["scores"]
    np.testing.assert_array_equal(written["rows"], data.rows("test"))
    assert scores.shape == (SIZES["test"], LABELS)
    assert np.isfinite(scores).all()
    assert found.metrics["control/dev/objective"] == found.metrics["dev/objective"]
    assert (found.examples_seen, found.device) == (0, "cpu")


def test_raw_takes_the_strength_that_is_best_on_dev_wherever_the_grid_begins(tmp_path: Path) -> None:
    data = features_data(tmp_path / "data")
    alone = {
        l2: raw(data, tmp_path / str(l2), probe=ProbeSettings(l2_grid=(l2,))).metrics
        for l2 in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    }
    grid = raw(data, tmp_path / "grid", probe=ProbeSettings(l2_grid=tuple(alone), grow=False)).metrics
    assert grid["dev/map"] == max(one["dev/map"] for one in alone.values())
    assert grid["control/l2"] in alone
    for start in ((1e-3, 1e-2), (10.0, 100.0)):
        short = raw(data, tmp_path / str(start), probe=ProbeSettings(l2_grid=start, grow=False)).metrics
        grown = raw(data, tmp_path / f"{start}+", probe=ProbeSettings(l2_grid=start)).metrics
        assert short["control/l2"] in start
        assert grown["dev/map"] > short["dev/map"]
        assert grown["control/l2"] == pytest.approx(grid["control/l2"])


def test_raw_on_features_that_say_nothing_is_no_better_than_chance(tmp_path: Path) -> None:
    """It never looks at dev or test labels while it learns."""
    data = features_data(tmp_path / "data", informative=False)
    prior = run_control("label_prior", data, settings(), tmp_path / "prior")
    assert raw(data, tmp_path / "raw").metrics["dev/map"] < prior.metrics["dev/map"] + 0.1


def test_raw_learns_shuffled_labels_where_the_study_does(tmp_path: Path) -> None:
    data = features_data(tmp_path / "data")
    shuffled = DataSettings(name="small", path="unused", shuffle_train_labels=True)
    found = run_control("raw", data, settings().model_copy(update={"data": shuffled}), tmp_path / "raw")
    assert found.metrics["dev/map"] < raw(data, tmp_path / "true").metrics["dev/map"] - 0.2


def test_an_objective_that_dev_does_not_define_is_told(tmp_path: Path) -> None:
    bare = features_data(tmp_path / "data")
    index = pl.DataFrame(
        {
            "source_id": (names := [f"example {i}" for i in range(sum(SIZES.values()))]),
            "source_group": names,
            "split": [split for split, size in SIZES.items() for _ in range(size)],
            "labels": [[] if split == "dev" else [0] for split, size in SIZES.items() for _ in range(size)],
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    assert bare.labels("dev").counts().sum() > 0
    data = features_data(tmp_path / "other", index=index)
    with pytest.raises(UserError, match="map is undefined on dev, so raw cannot be tuned"):
        raw(data, tmp_path / "raw")
