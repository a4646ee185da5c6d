"""On what a job's probes are fitted: some rows in the epochs where the settings say so, all of train at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.testing import run_processes
from sdl_study.training.stages import scoring
from sdl_study.workers.job import Job
from tests.unit.training.jobs import SPLIT_SIZES, job, run, run_on_a_rank, write_data

MOST = 20


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.Tensor]]:
    """Rows and embeddings of every probe that is fitted."""
    found: list[tuple[int, torch.Tensor]] = []
    right = scoring.fit_probe

    def fit_probe(embeddings: torch.Tensor, labels: Any, **settings: Any) -> Any:
        assert len(labels) == len(embeddings)
        found.append((len(embeddings), embeddings))
        return right(embeddings, labels, **settings)

    monkeypatch.setattr(scoring, "fit_probe", fit_probe)
    return found


def probed(work: Job, **probe: Any) -> Job:
    return replace(work, settings={**work.settings, "probe": {**work.settings["probe"], **probe}})


@pytest.mark.parametrize(("kind", "at_the_end"), [("trial", []), ("final", [SPLIT_SIZES["train"]])])
def test_epochs_are_probed_on_some_rows_and_the_last_stage_on_all(
    tmp_path: Path, fitted: list[tuple[int, torch.Tensor]], kind: Any, at_the_end: list[int]
) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "one").mkdir()
    run(probed(job(tmp_path / "one", kind=kind, epochs=2), max_rows=MOST))
    assert [rows for rows, _ in fitted] == [MOST, MOST, *at_the_end]


def test_without_a_bound_an_epoch_is_probed_on_all_rows(
    tmp_path: Path, fitted: list[tuple[int, torch.Tensor]]
) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "one").mkdir()
    run(job(tmp_path / "one", epochs=1))
    assert [rows for rows, _ in fitted] == [SPLIT_SIZES["train"]]


def test_the_rows_are_the_studys_whatever_the_seed_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path / "data")
    chosen: list[list[int]] = []
    right = scoring.probe_rows

    def probe_rows(*given: Any) -> Any:
        rows = right(*given)
        chosen.append(rows.tolist())
        return rows

    monkeypatch.setattr(scoring, "probe_rows", probe_rows)
    for seed, of_study in ((7, 0), (8, 0), (8, 1)):
        (tmp_path / f"{seed}{of_study}").mkdir()
        work = probed(job(tmp_path / f"{seed}{of_study}", epochs=1), max_rows=MOST)
        run(replace(work, seed=seed, settings={**work.settings, "seed": of_study}))
    assert chosen[0] == chosen[1] != chosen[2]


def test_what_was_chosen_is_told_where_there_was_a_choice(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "one").mkdir()
    told = {
        scaling: run(probed(job(tmp_path / "one", epochs=1), grow=False, scaling=scaling))[0][1]
        for scaling in (("standard",), ("standard", "unit"))
    }
    assert "probe/unit_length" not in told["standard",]
    assert told["standard", "unit"]["probe/unit_length"] in (0.0, 1.0)


def test_ranks_share_the_probe_and_tell_the_same(tmp_path: Path) -> None:
    """As in one process, but for the rounding of the training before."""
    write_data(tmp_path / "data")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone, _ = run(probed(job(tmp_path / "one", epochs=1), max_rows=MOST, l2_grid=(1e-2, 1e-1)))
    work = probed(job(tmp_path / "two", epochs=1), max_rows=MOST, l2_grid=(1e-2, 1e-1))
    first, second = run_processes(run_on_a_rank, 2, work.to_dict())
    assert first == second
    assert first[0]["1"]["dev/map"] == pytest.approx(alone[1]["dev/map"], abs=0.02)
    assert first[0]["1"]["probe/l2"] == pytest.approx(alone[1]["probe/l2"])
