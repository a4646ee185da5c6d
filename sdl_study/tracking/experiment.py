"""The experiment of a study: opened, restored or moved, and marked so that MLflow's interface shows training runs."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import (
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER,
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME,
)

from sdl_study.tracking.database import move_artifacts

_KIND, _TRAINING = "mlflow.experimentKind", "custom_model_development"
_INFERRED = "inferred"
"""In the kinds that MLflow's interface guesses and writes down by itself."""


def open_experiment(client: MlflowClient, uri: str, study: str, artifacts: Path | None) -> str:
    """The id of a study's experiment, made, restored from the deleted ones, or moved where the study was.

    Args:
        client: of ``uri``.
        uri: tracking URI.
        study: its name.
        artifacts: folder of all experiments' artifacts; None leaves it to the server.
    """
    location = None if artifacts is None else (artifacts / study).resolve().as_uri()
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return client.create_experiment(study, artifact_location=location)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    if location is not None and experiment.artifact_location != location:
        move_artifacts(uri, experiment.experiment_id, experiment.artifact_location, location)
    return experiment.experiment_id


def mark_experiment(client: MlflowClient, experiment: str, metric: str) -> None:
    """Say that its runs train models, and which metric ranks them. What a user chose in the interface stays.

    Args:
        client: MLflow's.
        experiment: its id.
        metric: larger is better.
    """
    before = client.get_experiment(experiment).tags
    wanted = {MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME: metric}
    wanted[MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER] = "True"
    if _INFERRED in before.get(_KIND, _INFERRED):
        wanted[_KIND] = _TRAINING
    for key, value in wanted.items():
        if before.get(key) is None or key == _KIND:
            client.set_experiment_tag(experiment, key, value)


def runs_of(client: MlflowClient, experiment: str, view: int) -> list[Run]:
    """All runs of an experiment, active or deleted ones (a ``ViewType``)."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], run_view_type=view, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs
