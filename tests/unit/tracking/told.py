"""A small study that was told to MLflow, and what its database then holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from sdl_study.tracking import FinalRun, Tracker, TrialRun

EPOCH = {"train/loss": 2.0, "dev/map": 0.5}


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
