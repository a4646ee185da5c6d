"""The SQLite database of a tracking URI: looked at before MLflow is, which says INTERNAL_ERROR to all that is wrong.

MLflow would also add its tables to whatever database it is given, and upgrade some older ones without being asked.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sdl_study.errors import UserError

_HEADER = b"SQLite format 3\0"
_BUSY_SECONDS = 10.0


def check_database(uri: str) -> None:
    """A SQLite database that is there can be used by the MLflow installed here; other kinds of URI are left to it.

    Nothing is written.

    Raises:
        UserError: it is of another MLflow, of something else, damaged, or cannot be written.
    """
    path = database_file(uri)
    if path is None or not path.exists():
        return
    try:
        if path.is_dir():
            raise UserError(
                f"{path}: is a folder where MLflow's database should be; move it, or use another --out"
            )
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
        if start not in (b"", _HEADER):
            raise UserError(
                f"{path}: is not a SQLite database; is it damaged? Put it back from a copy, or use another --out"
            )
        _check_content(path, uri)
    except OSError as error:
        raise UserError(f"{path}: MLflow's database cannot be read ({error.strerror})") from None
    except sqlite3.Error as error:  # its text is SQLite's own
        raise UserError(
            f"{path}: MLflow's database cannot be used ({error}); mend that, put it back from a copy, or use another "
            "--out"
        ) from None


def database_file(uri: str) -> Path | None:
    """The file of a SQLite URI; None for every other kind."""
    if not uri.startswith("sqlite"):
        return None
    try:
        name = make_url(uri).database
    except ArgumentError:
        return None
    return Path(name) if name and name != ":memory:" else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )


def _check_content(path: Path, uri: str) -> None:
    with closing(_connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")  # as a writer; nothing is written
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        versions: list[str] = []
        if "alembic_version" in tables:
            versions = [row[0] for row in database.execute("SELECT version_num FROM alembic_version")]
        database.execute("ROLLBACK")
    if tables and "experiments" not in tables:
        raise UserError(f"{path}: is a database of something else than MLflow; move it, or use another --out")
    if tables:
        _check_version(path, uri, versions[0] if versions else "none")


def _check_version(path: Path, uri: str, found: str) -> None:
    """The tables are those of the MLflow installed here, neither older nor newer ones."""
    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    expected = migrations.get_current_head()
    if found == expected:
        return
    upgrade = f"make a copy and run: mlflow db upgrade {uri}"
    try:
        migrations.get_revision(found)
    except CommandError:
        upgrade = f"install the MLflow that wrote it, or a newer one ({upgrade})"
    raise UserError(
        f"{path}: its tables are of another MLflow (version {found}, and MLflow {mlflow.__version__} here has "
        f"{expected}); {upgrade}; or use another --out"
    )


def move_artifacts(uri: str, experiment: str, before: str, after: str) -> None:
    """Let an experiment and its runs have their artifacts in another folder: that of a study that was moved.

    MLflow keeps whole paths and has no call to change them.

    Args:
        uri: of a SQLite database.
        experiment: its id.
        before: the folder as the database has it, a URI.
        after: the folder as it is now, a URI.
    """
    path = database_file(uri)
    if path is None:
        raise ValueError(f"{uri} is no SQLite database")
    with closing(_connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (after, int(experiment))
        )
        database.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, length(?) + 1) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, length(?)) = ?",
            (after, before, int(experiment), before + "/", before + "/"),
        )
        database.execute("COMMIT")
