"""MLflow's database as it may be found: of another version, of something else, damaged, moved; and runs deleted."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service import utils as tracking_utils

from sdl_study.errors import UserError
from sdl_study.study.tracking_server import check_tracking
from sdl_study.tracking import FinalRun, Tracker, TrialRun, check_database

EPOCH = {"train/loss": 2.0, "dev/map": 0.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database in which a study ended; MLflow takes a second to make one."""
    folder = tmp_path_factory.mktemp("made")
    told(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, as it was before the folder's name changed."""
    target = tmp_path / "copied"
    shutil.copytree(made, target)
    return target


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def told(folder: Path) -> Tracker:
    """A study with a trial, a final and an answer, told to MLflow."""
    tracker = Tracker(uri_of(folder), folder / "mlartifacts", "tiny")
    tracker.open_parent({"arms": "any,sd"}, {"sdl.terms": "open"})
    tracker.trial(
        TrialRun(3, "003 sd", "sd", "complete", {"loss.temperature": 0.1}, {1: EPOCH}, {"objective": 0.5}, {})
    )
    tracker.final(FinalRun("tiny/final/abc/sd/0", "final sd", "final", {"arm": "sd"}, {"test/map": 0.4}, {}))
    note = folder / "leaderboard.csv"
    note.write_text("trial\n0\n")
    tracker.answer({"test/map": 0.4}, {"sdl.declaration": "abc"}, [(note, "")])
    return tracker


def client_of(folder: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri=uri_of(folder))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return client, experiment.experiment_id


def runs(folder: Path, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    """The runs by role."""
    client, experiment = client_of(folder)
    found = client.search_runs([experiment], run_view_type=view)
    return {run.data.tags["sdl.role"]: run for run in found}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def refused(folder: Path) -> str:
    """What is said of the database, which stays as it is."""
    path = folder / "mlflow.db"
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError) as by_check:
        check_tracking(uri_of(folder))
    with pytest.raises(UserError) as by_tracker:
        Tracker(uri_of(folder), folder / "mlartifacts", "tiny")
    assert str(by_check.value) == str(by_tracker.value)
    assert "\n" not in str(by_check.value)
    assert str(by_check.value).startswith(f"{path}: ")
    assert (path.read_bytes() if path.is_file() else None) == before
    return str(by_check.value)


@pytest.mark.parametrize("version", ["acf3f17fdcc7", "451aebb31d03"], ids=["older", "first"])
def test_a_database_of_an_older_mlflow(version: str, folder: Path) -> None:
    execute(folder / "mlflow.db", f"UPDATE alembic_version SET version_num = '{version}'")
    text = refused(folder)
    assert f"of another MLflow (version {version}" in text
    assert f"make a copy and run: mlflow db upgrade {uri_of(folder)}" in text
    assert "another --out" in text


def test_a_database_of_an_older_mlflow_that_lacks_tables_is_not_upgraded_unasked(folder: Path) -> None:
    execute(
        folder / "mlflow.db",
        "UPDATE alembic_version SET version_num = 'acf3f17fdcc7'",
        "DROP TABLE IF EXISTS logged_model_metrics",
        "DROP TABLE IF EXISTS webhook_events",
    )
    assert "mlflow db upgrade" in refused(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = 'ffffffffffff'",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
    ids=["unknown version", "no version", "no table of versions"],
)
def test_a_database_of_an_unknown_mlflow(statement: str, folder: Path) -> None:
    execute(folder / "mlflow.db", statement)
    text = refused(folder)
    assert "of another MLflow" in text
    assert "install the MLflow that wrote it" in text


def test_a_database_of_something_else(tmp_path: Path) -> None:
    execute(
        tmp_path / "mlflow.db", "CREATE TABLE patients (name TEXT)", "INSERT INTO patients VALUES ('Jane')"
    )
    text = refused(tmp_path)
    assert "is a database of something else than MLflow" in text
    assert "Jane" not in text


def test_no_database_at_all(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and was never one" * 100)
    assert "is not a SQLite database" in refused(tmp_path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "is a folder where MLflow's database should be" in refused(tmp_path)


def test_a_damaged_database(folder: Path) -> None:
    path = folder / "mlflow.db"
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(bytes(content))
    assert "MLflow's database cannot be used" in refused(folder)


@pytest.mark.parametrize(
    "text", ["attempt to write a readonly database", "database is locked", "disk I/O error"]
)
def test_a_database_that_cannot_be_written(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by hand: the tests may run as root, who can write everything."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if sql == "BEGIN IMMEDIATE":
                raise sqlite3.OperationalError(text)
            return super().execute(sql, *given)

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: plain(*given, factory=Connection, **more))
    assert f"MLflow's database cannot be used ({text})" in refused(folder)


def test_a_file_that_is_empty_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    check_tracking(uri_of(tmp_path))
    told(tmp_path)
    assert set(runs(tmp_path)) == {"study", "trial", "final"}


@pytest.mark.parametrize(
    "uri", ["sqlite://", "sqlite:///:memory:", "postgresql://host/db", "sqlite:///no/where.db"]
)
def test_what_is_no_file_is_left_to_mlflow(uri: str) -> None:
    check_database(uri)


def forget_repositories() -> None:
    """MLflow remembers where a run's artifacts are as long as the process lives; a moved study has another one."""
    tracking_utils._artifact_repos_cache.clear()


def artifacts(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in (folder / "mlartifacts").rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("how", ["moved", "copied", "copied, and the old one cannot be written"])
def test_a_study_folder_somewhere_else_has_its_artifacts_there(
    how: str, made: Path, folder: Path, tmp_path: Path
) -> None:
    before = made if how == "copied" else tmp_path / "before"
    for column, table in (("artifact_location", "experiments"), ("artifact_uri", "runs")):
        execute(
            folder / "mlflow.db",
            f"UPDATE {table} SET {column} = replace({column}, '{made.as_uri()}', '{before.as_uri()}')",
        )
    if how == "copied, and the old one cannot be written":
        before.mkdir()
        (before / "mlartifacts").write_text("no folder can be made here")
    old = artifacts(before)
    forget_repositories()
    extended = told(folder)
    extended.answer({"test/map": 0.5}, {"sdl.declaration": "abd"}, [(folder / "leaderboard.csv", "again")])
    assert artifacts(before) == old
    assert before.exists() == (how != "moved")
    parent = runs(folder)["study"]
    for run in runs(folder).values():
        assert str(run.info.artifact_uri).startswith(
            (folder / "mlartifacts" / "tiny").resolve().as_uri() + "/"
        )
    client, _ = client_of(folder)
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {"leaderboard.csv", "again"}


def test_another_study_of_a_moved_folder_moves_when_it_is_opened(folder: Path) -> None:
    Tracker(uri_of(folder), folder / "mlartifacts", "other")
    client, _ = client_of(folder)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    assert not experiment.artifact_location.startswith(folder.resolve().as_uri())
    told(folder)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    assert experiment.artifact_location == (folder / "mlartifacts" / "tiny").resolve().as_uri()


def test_another_spelling_of_the_same_folder_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(folder)
    before = {role: run.info.artifact_uri for role, run in runs(folder).items()}
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for spelling in (folder.parent / "link", folder / ".." / folder.name, Path(folder.name)):
        Tracker(uri_of(folder), spelling / "mlartifacts", "tiny")
        assert {role: run.info.artifact_uri for role, run in runs(folder).items()} == before


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
