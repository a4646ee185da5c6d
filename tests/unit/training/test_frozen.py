"""What frozen layers give is computed once and shared; training and scores are the same with and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl_study.data.hidden import HiddenStore
from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.models import Encoder
from sdl_study.testing import run_processes
from sdl_study.training.stages import embed
from sdl_study.workers.job import Job
from tests.unit.models import published
from tests.unit.training.jobs import job, run, run_on_a_rank, write_data

WORDS = (*published.SPECIALS, *(f"word{i}" for i in range(5)), *(f"noise{i}" for i in range(9)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("frozen")
    write_data(home / "data")
    no_dropout: dict[str, Any] = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # ranks draw apart
    published.model(home / "model", num_hidden_layers=2, vocab_size=len(WORDS), **no_dropout)
    published.tokenizer(home / "model", WORDS)
    return home


def frozen_job(home: Path, name: str, frozen: dict[str, Any], arm: str = "sd", **train: Any) -> Job:
    made = job(home / name, kind="final", arm=arm, encoder="conv", **{"epochs": 2, **train})
    settings = made.settings
    settings["model"]["encoders"] = {"conv": {"kind": "hub", "name": str(home / "model"), **frozen}}
    settings["data"]["store"] = {"tokenizer": "pretrained", "name": str(home / "model")}
    return replace(made, settings=settings, stores=str(home / name / "stores"))


def hidden_folders(home: Path, name: str) -> list[str]:
    return [path.name for path in (home / name / "stores").iterdir() if path.name.startswith("hidden-")]


def scores(found: Job) -> Any:
    return np.load(Path(found.folder) / SCORES_FILE)["scores"]


@pytest.mark.parametrize(("arm", "frozen"), [("sd", {"frozen_layers": 1}), ("bce", {"freeze": True})])
def test_the_same_numbers_as_without(home: Path, arm: str, frozen: dict[str, Any]) -> None:
    kept = frozen_job(home, f"kept-{arm}", frozen, arm)
    anew = frozen_job(home, f"anew-{arm}", frozen, arm, frozen_outputs_gib=0)
    (epochs, _), (others, _) = run(kept), run(anew)
    for epoch, metrics in epochs.items():
        assert metrics["train/loss"] == pytest.approx(others[epoch]["train/loss"], rel=1e-4)
    assert np.abs(scores(kept) - scores(anew)).max() < 1e-3
    assert len(hidden_folders(home, f"kept-{arm}")) == 1
    assert not hidden_folders(home, f"anew-{arm}")


def test_nothing_is_kept_where_nothing_is_frozen(home: Path) -> None:
    run(frozen_job(home, "trained", {}))
    assert not hidden_folders(home, "trained")


def test_jobs_of_a_study_share_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = frozen_job(home, "shared", {"frozen_layers": 1})
    run(first)
    lower, calls = Encoder.lower, []

    def counted(self: Encoder, **inputs: Any) -> Any:
        calls.append(len(inputs["input_ids"]))
        return lower(self, **inputs)

    monkeypatch.setattr(Encoder, "lower", counted)
    second = replace(frozen_job(home, "other", {"frozen_layers": 1}, arm="any"), stores=first.stores)
    run(second)
    assert sum(calls) <= 2  # one example tells the size, no others are computed
    control = replace(frozen_job(home, "control", {"frozen_layers": 1}), stores=first.stores, kind="control")
    run(control)
    assert len(hidden_folders(home, "shared")) == 1


def test_probes_read_them_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []
    whole = embed.embed

    def seen(encoder: Any, rows: Any, inputs: Any, *rest: Any) -> Any:
        stores.append(type(inputs.store))
        return whole(encoder, rows, inputs, *rest)

    monkeypatch.setattr("sdl_study.training.stages.scoring.embed", seen)
    run(frozen_job(home, "probed", {"frozen_layers": 1}))
    assert set(stores) == {HiddenStore}


def test_two_ranks_compute_them_once(home: Path) -> None:
    spread = run_processes(run_on_a_rank, 2, frozen_job(home, "two", {"frozen_layers": 1}).to_dict())
    single, _ = run(frozen_job(home, "one", {"frozen_layers": 1}))
    for epoch, metrics in single.items():
        assert spread[0][0][str(epoch)]["train/loss"] == pytest.approx(metrics["train/loss"], rel=1e-3)
    assert len(hidden_folders(home, "two")) == 1


def test_a_contrastive_arm_needs_something_to_train(home: Path) -> None:
    """All layers frozen is all of it frozen, which only the model itself can tell."""
    with pytest.raises(UserError, match=r"^model\.encoders\.conv: nothing of it is trained, so that arm sd"):
        run(frozen_job(home, "nothing", {"frozen_layers": 2}))
    run(frozen_job(home, "supervised", {"frozen_layers": 2}, arm="bce"))
