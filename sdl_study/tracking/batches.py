"""What a run is given, as many at once as MLflow takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH


def log_parameters(client: MlflowClient, run: Run, parameters: Mapping[str, Any]) -> None:
    """Those that the run has not got already."""
    new = [Param(key, _text(value)) for key, value in parameters.items() if key not in run.data.params]
    for start in range(0, len(new), MAX_PARAMS_TAGS_PER_BATCH):
        client.log_batch(run.info.run_id, params=new[start : start + MAX_PARAMS_TAGS_PER_BATCH])


def log_metrics(
    client: MlflowClient, run: Run, metrics: Mapping[str, float], step: int, tags: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Metrics of one step, and tags."""
    words = [RunTag(key, value) for key, value in (tags or {}).items()]
    if metrics or words:
        client.log_batch(run.info.run_id, metrics=_metrics(metrics, step), tags=words)


def log_epochs(client: MlflowClient, run: Run, epochs: Mapping[int, Mapping[str, float]]) -> None:
    """Metrics of epochs, each of which is written whole or not at all."""
    batch: list[Metric] = []
    for epoch, metrics in epochs.items():
        own = _metrics(metrics, epoch)
        if batch and len(batch) + len(own) > MAX_METRICS_PER_BATCH:
            client.log_batch(run.info.run_id, metrics=batch)
            batch = []
        batch += own
    if batch:
        client.log_batch(run.info.run_id, metrics=batch)


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, step) for key, value in values.items()]


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
