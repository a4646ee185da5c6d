"""What MLflow has of a study, for whoever compares it with the journal; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sdl_study.errors import UserError, without_password
from sdl_study.tracking.database import check_database
from sdl_study.tracking.experiment import runs_of


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


def runs_seen(uri: str, study: str) -> list[SeenRun] | None:
    """The runs of a study that nobody deleted; None where MLflow does not know the study.

    Args:
        uri: of a database that is there, or of a server.
        study: its name.

    Raises:
        UserError: it cannot be read.
    """
    check_database(uri)
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(study)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            return None
        runs = runs_of(client, experiment.experiment_id, ViewType.ACTIVE_ONLY)
    except (MlflowException, SQLAlchemyError) as error:
        reason = error.error_code if isinstance(error, MlflowException) else type(error).__name__
        raise UserError(f"{without_password(uri)}: MLflow cannot read it ({reason})") from None
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
