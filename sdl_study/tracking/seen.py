"""What MLflow has of a study, for whoever compares it with the journal; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

from sdl_study.errors import UserError, without_password
from sdl_study.tracking.database import check_database
from sdl_study.tracking.experiment import STUDY_ID, runs_of
from sdl_study.tracking.failures import TRACKING_ERRORS, error_name


@dataclass(frozen=True)
class SeenRun:
    """A run as MLflow has it.

    Attributes:
        key: its identity in the study (``sdl.key``): trial/NUMBER, or the key of a final; "" of a run of somebody else.
        role: study, trial, final or control.
        status: MLflow's word.
        superseded: whether it is a final of another declaration than the one in force.
        metrics: the last values.
    """

    key: str
    role: str
    status: str
    superseded: bool
    metrics: Mapping[str, float]


def runs_by_identity(client: MlflowClient, experiment: str) -> dict[str, Run]:
    """The runs of an experiment by what they are in their study; one that is there counts before a deleted one."""
    return {
        run.data.tags.get("sdl.key", run.info.run_id): run
        for view in (ViewType.DELETED_ONLY, ViewType.ACTIVE_ONLY)
        for run in runs_of(client, experiment, view)
    }


def runs_seen(uri: str, study: str, study_id: str | None = None) -> list[SeenRun] | None:
    """The runs of a study that nobody deleted; None where MLflow does not know the study.

    Args:
        uri: of a database that is there, or of a server.
        study: its name.
        study_id: as its study.json has it; None of a study that began before there were ids.

    Raises:
        UserError: it cannot be read.
    """
    check_database(uri)
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, study, study_id)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            return None
        runs = runs_of(client, experiment.experiment_id, ViewType.ACTIVE_ONLY)
    except TRACKING_ERRORS as error:
        raise UserError(f"{without_password(uri)}: MLflow cannot read it ({error_name(error)})") from None
    return [
        SeenRun(
            key=run.data.tags.get("sdl.key", ""),
            role=run.data.tags.get("sdl.role", ""),
            status=run.info.status,
            superseded=run.data.tags.get("sdl.superseded") == "true",
            metrics=run.data.metrics,
        )
        for run in runs
    ]


def _experiment(client: MlflowClient, study: str, study_id: str | None) -> Experiment | None:
    """The experiment that has the study's id, or that of its name where that is no other study's."""
    if study_id is not None:
        own = client.search_experiments(filter_string=f"tags.`{STUDY_ID}` = '{study_id}'", max_results=1)
        if own:
            return own[0]
    named = client.get_experiment_by_name(study)
    is_anothers = named is not None and study_id is not None and STUDY_ID in named.tags
    return None if is_anothers else named
