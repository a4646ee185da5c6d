"""The experiment of a study: opened, restored or moved, and marked so that MLflow's interface shows training runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.utils.mlflow_tags import (
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER,
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME,
)

from sdl_study.tracking.database import move_artifacts

STUDY_ID = "sdl.study_id"
"""The tag of an experiment that says whose it is."""

_SHOWN = 8
_KIND, _TRAINING = "mlflow.experimentKind", "custom_model_development"
_INFERRED = "inferred"
"""In the kinds that MLflow's interface guesses and writes down by itself."""


@dataclass(frozen=True)
class Owner:
    """The study that an experiment is of: two studies of one name may meet on one server.

    Attributes:
        study: its id, which stands in its study.json.
        began_without: it began before studies had ids: the experiment of its name may be its own although no id says
            so.
    """

    study: str
    began_without: bool = False


def open_experiment(
    client: MlflowClient, uri: str, study: str, artifacts: Path | None, owner: Owner | None
) -> Experiment:
    """The experiment of a study: made, restored from the deleted ones, or moved where the study was.

    It has the study's name; where another study has an experiment of that name, the id of this one follows it. So no
    study ever writes to the runs of another one.

    Args:
        client: of ``uri``.
        uri: tracking URI.
        study: its name.
        artifacts: folder of all experiments' artifacts; None leaves it to the server.
        owner: the study; None takes the experiment of the name, whoever made it.
    """
    experiment = _found(client, study, owner) or _made(client, study, artifacts, owner)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    if owner is not None and STUDY_ID not in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, STUDY_ID, owner.study)
    if artifacts is not None:
        before = experiment.artifact_location
        # Behind a server the folder is called after the experiment's number.
        location = (artifacts / Path(unquote(urlsplit(before).path)).name).resolve().as_uri()
        if location != before:
            move_artifacts(uri, experiment.experiment_id, before, location)
    return experiment


def _found(client: MlflowClient, study: str, owner: Owner | None) -> Experiment | None:
    """The study's experiment: the one that has its id, whatever it is called by now, or that of its name."""
    named = client.get_experiment_by_name(study)
    if owner is None:
        return named
    wanted = f"tags.`{STUDY_ID}` = '{owner.study}'"
    own = client.search_experiments(view_type=ViewType.ALL, filter_string=wanted, max_results=1)
    if own:
        return own[0]
    if named is None or STUDY_ID in named.tags:
        return None
    return named if owner.began_without or not _has_runs(client, named.experiment_id) else None


def _has_runs(client: MlflowClient, experiment: str) -> bool:
    return bool(client.search_runs([experiment], run_view_type=ViewType.ALL, max_results=1))


def _made(client: MlflowClient, study: str, artifacts: Path | None, owner: Owner | None) -> Experiment:
    """A new experiment of the study's name, or of a longer one where that is taken (by a deleted one too)."""
    try:
        return _created(client, study, artifacts, owner)
    except MlflowException as error:
        if owner is None or error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    return _created(client, f"{study}-{owner.study[:_SHOWN]}", artifacts, owner)


def _created(client: MlflowClient, name: str, artifacts: Path | None, owner: Owner | None) -> Experiment:
    location = None if artifacts is None else (artifacts / name).resolve().as_uri()
    tags = {} if owner is None else {STUDY_ID: owner.study}
    return client.get_experiment(client.create_experiment(name, location, tags))


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
