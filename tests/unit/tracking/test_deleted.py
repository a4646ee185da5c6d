"""Runs and experiments that were deleted in MLflow: restored, or made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from sdl_study.tracking import Tracker
from tests.unit.tracking.told import client_of, execute, runs, told, uri_of


def delete_for_good(folder: Path, run: Run) -> None:
    store = SqlAlchemyStore(uri_of(folder), str(folder / "mlartifacts"))
    store.delete_run(run.info.run_id)
    store._hard_delete_run(run.info.run_id)


def in_order(folder: Path) -> None:
    """Each run is there once, and the children name the parent that is there."""
    found = runs(folder)
    client, experiment = client_of(folder)
    assert len(client.search_runs([experiment])) == 3
    for role in ("trial", "final"):
        assert found[role].data.tags["mlflow.parentRunId"] == found["study"].info.run_id


@pytest.mark.parametrize("roles", [("study",), ("trial",), ("final",), ("study", "trial", "final")])
def test_deleted_runs_are_restored(roles: tuple[str, ...], folder: Path) -> None:
    before = runs(folder)
    client, _ = client_of(folder)
    for role in roles:
        client.delete_run(before[role].info.run_id)
    told(folder)
    in_order(folder)
    after = runs(folder)
    assert {role: run.info.run_id for role, run in after.items()} == {
        role: run.info.run_id for role, run in before.items()
    }
    for run in after.values():
        for key in run.data.metrics:
            assert len(client.get_metric_history(run.info.run_id, key)) == 1


def test_a_deleted_experiment_is_restored(folder: Path) -> None:
    before = {role: run.info.run_id for role, run in runs(folder).items()}
    client, experiment = client_of(folder)
    client.delete_experiment(experiment)
    told(folder)
    in_order(folder)
    assert {role: run.info.run_id for role, run in runs(folder).items()} == before


@pytest.mark.parametrize("role", ["study", "trial", "final"])
def test_a_run_deleted_for_good_is_made_anew(role: str, folder: Path) -> None:
    before = runs(folder)
    delete_for_good(folder, before[role])
    told(folder)
    in_order(folder)
    after = runs(folder)
    assert after[role].info.run_id != before[role].info.run_id
    assert after[role].data.metrics == before[role].data.metrics


def test_children_that_an_earlier_version_left_behind_get_the_parent_that_is_there(folder: Path) -> None:
    """It made a new parent where the old one was deleted, and left the children with that."""
    client, experiment = client_of(folder)
    old = runs(folder)["study"]
    client.delete_run(old.info.run_id)
    tags = {"sdl.role": "study", "sdl.key": "study"}
    new = client.create_run(experiment, tags=tags)
    told(folder)
    in_order(folder)
    assert runs(folder)["study"].info.run_id == new.info.run_id


def test_a_deleted_final_of_another_declaration_stays_deleted(folder: Path) -> None:
    client, _ = client_of(folder)
    final = runs(folder)["final"].info.run_id
    client.delete_run(final)
    tracker = Tracker(uri_of(folder), folder / "mlartifacts", "tiny")
    tracker.open_parent({}, {})
    tracker.supersede({"tiny/final/def/sd/0"})
    assert client.get_run(final).info.lifecycle_stage == "deleted"


def test_an_mlflow_that_fails_at_the_end_hides_nothing(folder: Path) -> None:
    """The parent was deleted while the study ran, or its database is damaged by now."""
    tracker = told(folder)
    execute(folder / "mlflow.db", "DROP TABLE runs")
    tracker.end_parent("KILLED")
