"""MLflow's database as it may be found: of another version, of something else, damaged, moved."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking._tracking_service import utils as tracking_utils

from sdl_study.errors import UserError
from sdl_study.study.tracking_server import check_tracking
from sdl_study.tracking import Tracker, check_database
from tests.unit.tracking.told import client_of, execute, runs, told, uri_of


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
