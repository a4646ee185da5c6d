"""The runs of a study in MLflow: a parent, and its trials and finals as children.

Everything is written by the driver through MlflowClient, with explicit URIs and run ids. What is written is derived
from the journal: ``trial`` brings a run up to its record, whatever of it MLflow has already, so that the same call
logs an epoch, ends a run and mends what a crash, or somebody who deleted runs, left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sdl_study.errors import UserError, without_password
from sdl_study.tracking.database import check_database, move_artifacts

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_AT_ONCE = 100
_PARENT = "mlflow.parentRunId"
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)


@dataclass(frozen=True)
class TrialRun:
    """A trial as MLflow shows it."""

    number: int
    name: str
    arm: str
    state: str
    parameters: Mapping[str, Any]
    epochs: Mapping[int, Mapping[str, float]]
    summary: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class FinalRun:
    """A final or control as MLflow shows it."""

    key: str
    name: str
    role: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    failure: str | None = None


class Tracker:
    """The MLflow runs of one study.

    Args:
        uri: tracking URI, for example ``sqlite:////path/mlflow.db`` or ``http://host:5000``.
        artifacts: folder of the experiments' artifacts beside a local database; None leaves it to the server.
        study: name of the study, which is the experiment's.

    Raises:
        UserError: the database cannot be used.
    """

    def __init__(self, uri: str, artifacts: Path | None, study: str) -> None:
        check_database(uri)
        self._uri = uri
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._open(study, artifacts)
        except MlflowException as error:
            raise UserError(f"{without_password(uri)}: MLflow cannot open it ({error.error_code})") from None
        except SQLAlchemyError as error:
            raise UserError(
                f"{without_password(uri)}: MLflow cannot open it ({type(error).__name__}); is the file damaged?"
            ) from None
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, set[int]] = {}
        # A run that is there counts before a deleted one.
        for view in (ViewType.DELETED_ONLY, ViewType.ACTIVE_ONLY):
            for run in self._existing(view):
                self._runs[_identity(run)] = run
        self._parent: Run | None = None

    def _open(self, study: str, artifacts: Path | None) -> str:
        location = None if artifacts is None else (artifacts / study).resolve().as_uri()
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None:
            return self._client.create_experiment(study, artifact_location=location)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        if location is not None and experiment.artifact_location != location:
            move_artifacts(self._uri, experiment.experiment_id, experiment.artifact_location, location)
        return experiment.experiment_id

    def _existing(self, view: int) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], run_view_type=view, max_results=1000, page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _found(self, identity: str) -> Run | None:
        """The run of this identity, restored where somebody deleted it."""
        run = self._runs.get(identity)
        if run is not None and run.info.lifecycle_stage == "deleted":
            self._client.restore_run(run.info.run_id)
            self._runs[identity] = run = self._client.get_run(run.info.run_id)
        return run

    @property
    def parent_id(self) -> str:
        """Run id of the study's parent run."""
        if self._parent is None:
            raise RuntimeError("the parent run was not opened")
        return self._parent.info.run_id

    def open_parent(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """The parent run, new or as it is; the study's other runs name it as theirs."""
        self._parent = self._found("study")
        if self._parent is None:
            self._parent = self._create("study", "study", "study", dict(tags), parent=None)
            self._log_parameters(self._parent, parameters)
        else:
            for key, value in tags.items():
                if self._parent.data.tags.get(key) != value:
                    self._client.set_tag(self.parent_id, key, value)
        for identity, run in self._runs.items():
            parent = run.data.tags.get(_PARENT, self.parent_id)  # the parent itself has none
            if parent != self.parent_id and run.info.lifecycle_stage == "active":
                self._client.set_tag(run.info.run_id, _PARENT, self.parent_id)
                self._runs[identity] = self._client.get_run(run.info.run_id)

    def reopen_parent(self) -> None:
        """Say that the study goes on."""
        self._client.set_terminated(self.parent_id, "RUNNING")

    def _create(
        self, identity: str, role: str, name: str, tags: Mapping[str, str], parent: str | None
    ) -> Run:
        all_tags = {**tags, "sdl.role": role, "sdl.key": identity}
        if parent is not None:
            all_tags[_PARENT] = parent
        run = self._client.create_run(self._experiment, run_name=name, tags=all_tags)
        self._runs[identity] = run
        self._steps[run.info.run_id] = set()
        return run

    def _log_parameters(self, run: Run, parameters: Mapping[str, Any]) -> None:
        known = run.data.params
        new = [Param(key, _text(value)) for key, value in parameters.items() if key not in known]
        for start in range(0, len(new), _AT_ONCE):
            self._client.log_batch(run.info.run_id, params=new[start : start + _AT_ONCE])

    def trial(self, trial: TrialRun) -> None:
        """Bring a trial's run up to its record: new epochs, then, once it ended, summary and status."""
        identity = f"trial/{trial.number}"
        run = self._found(identity)
        if run is not None and run.info.status == _STATUS.get(trial.state):
            return
        if run is None:
            tags = {"sdl.trial": str(trial.number), "arm": trial.arm, "sdl.state": trial.state, **trial.tags}
            run = self._create(identity, "trial", trial.name, tags, self.parent_id)
        if set(run.data.params) != {"arm", *trial.parameters}:
            self._log_parameters(run, {"arm": trial.arm, **trial.parameters})
            self._runs[identity] = run = self._client.get_run(run.info.run_id)
        for epoch in sorted(set(trial.epochs) - self._steps_of(run)):
            self._log(run, trial.epochs[epoch], epoch)
            self._steps[run.info.run_id].add(epoch)
        if trial.state != "running":
            self._end_trial(identity, run, trial)

    def _end_trial(self, identity: str, run: Run, trial: TrialRun) -> None:
        known = self._client.get_run(run.info.run_id).data.metrics
        self._log(run, {key: value for key, value in trial.summary.items() if key not in known}, 0)
        tags = [RunTag("sdl.state", trial.state), *(RunTag(k, v) for k, v in trial.tags.items())]
        self._client.log_batch(run.info.run_id, tags=tags)
        self._client.set_terminated(run.info.run_id, _STATUS[trial.state])
        self._runs[identity] = self._client.get_run(run.info.run_id)

    def _steps_of(self, run: Run) -> set[int]:
        """Epochs that the run has already (each is written in one batch, so one key tells)."""
        run_id = run.info.run_id
        if run_id not in self._steps:
            history = self._client.get_metric_history(run_id, "train/loss")
            self._steps[run_id] = {metric.step for metric in history}
        return self._steps[run_id]

    def _log(self, run: Run, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        batch = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        if batch:
            self._client.log_batch(run.info.run_id, metrics=batch)

    def final(self, final: FinalRun) -> None:
        """One final or control that has ended; a run that is there and ended is left as it is."""
        run = self._found(final.key)
        if run is None:
            run = self._create(final.key, final.role, final.name, final.tags, self.parent_id)
        status = "FINISHED" if final.failure is None else "FAILED"
        if run.info.status != status:
            self._log_parameters(run, final.parameters)
            known = self._client.get_run(run.info.run_id).data.metrics
            self._log(run, {key: value for key, value in final.metrics.items() if key not in known}, 0)
            if final.failure is not None:
                self._client.set_tag(run.info.run_id, "sdl.reason", final.failure)
            self._client.set_terminated(run.info.run_id, status)
            self._runs[final.key] = self._client.get_run(run.info.run_id)

    def supersede(self, keep: Collection[str]) -> None:
        """Mark the finals and controls of other declarations than the one in force.

        Args:
            keep: keys of the finals in force.
        """
        for identity, run in self._runs.items():
            tags = run.data.tags
            old = tags.get("sdl.role") in ("final", "control") and identity not in keep
            if old and run.info.lifecycle_stage == "active" and tags.get("sdl.superseded") != "true":
                self._client.set_tag(run.info.run_id, "sdl.superseded", "true")

    def answer(
        self, metrics: Mapping[str, float], tags: Mapping[str, str], artifacts: list[tuple[Path, str]]
    ) -> None:
        """End the parent run with the study's answer: metrics, tags and artifacts (a file or
        folder, and the folder that it goes to).

        The answer of an extended study is a further step of the metrics that changed.
        """
        parent = self._client.get_run(self.parent_id)
        for key, value in metrics.items():
            if parent.data.metrics.get(key) != value:
                step = len(self._client.get_metric_history(self.parent_id, key))
                self._log(parent, {key: value}, step)
        self._client.log_batch(self.parent_id, tags=[RunTag(key, value) for key, value in tags.items()])
        for path, folder in artifacts:
            if path.is_dir():
                self._client.log_artifacts(self.parent_id, str(path), artifact_path=folder or None)
            else:
                self._client.log_artifact(self.parent_id, str(path), artifact_path=folder or None)
        self._client.set_terminated(self.parent_id, "FINISHED")

    def answered(self, declaration: str, with_records: bool) -> bool:
        """Whether the parent run is ended with the answer under a declaration, record-level files included."""
        parent = self._client.get_run(self.parent_id)
        tags = parent.data.tags
        complete = tags.get("sdl.record_artifacts") == "yes" or not with_records
        return complete and parent.info.status == "FINISHED" and tags.get("sdl.declaration") == declaration

    def end_parent(self, status: str) -> None:
        """End the parent run without an answer ("KILLED", "FAILED"), where MLflow still can."""
        with suppress(
            MlflowException, SQLAlchemyError
        ):  # what ended the study is told, not what MLflow adds to it
            self._client.set_terminated(self.parent_id, status)


def _identity(run: Run) -> str:
    return run.data.tags.get("sdl.key", run.info.run_id)


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
