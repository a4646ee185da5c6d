"""What a study left in MLflow."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run

from sdl_study.study.plan import Plan


def runs_of(plan: Plan, role: str | None = None) -> list[Run]:
    """Runs of a study's experiment, of one role or all."""
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    experiment = client.get_experiment_by_name(plan.name)
    assert experiment is not None
    wanted = "" if role is None else f"tags.`sdl.role` = '{role}'"
    return list(client.search_runs([experiment.experiment_id], wanted, max_results=1000))
