"""The runs of a study in MLflow: a parent, and its trials and finals as children.

Everything is written by the driver through MlflowClient, with explicit URIs and run ids. What is written is derived
from the journal: ``trial`` brings a run up to its record, whatever of it MLflow has already, so that the same call
logs an epoch, ends a run and mends what a crash, or somebody who deleted runs, left.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError

from sdl_study.errors import UserError, without_password
from sdl_study.tracking.batches import log_epochs, log_metrics, log_parameters
from sdl_study.tracking.context import RunContext
from sdl_study.tracking.database import check_database
from sdl_study.tracking.entries import FinalRun, TrialRun
from sdl_study.tracking.experiment import Owner, mark_experiment, open_experiment
from sdl_study.tracking.failures import TRACKING_ERRORS
from sdl_study.tracking.pyfunc import MODEL_FOLDER, make_model
from sdl_study.tracking.registry import register, registered
from sdl_study.tracking.seen import runs_by_identity
from sdl_study.tracking.views import Views

STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""MLflow's word for the state of a trial that has ended."""
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)


class Tracker:
    """The MLflow runs of one study.

    Args:
        uri: tracking URI, for example ``sqlite:////path/mlflow.db`` or ``http://host:5000``.
        artifacts: folder of the experiments' artifacts beside a local database; None leaves it to the server.
        study: name of the study, which is the experiment's and the parent run's.
        context: of runs that are made; None for one that makes none, or knows nothing of data and code.
        owner: the study as its id says it; None takes the experiment of the name, whoever made it.

    Raises:
        UserError: the database cannot be used.
    """

    def __init__(
        self, uri: str, artifacts: Path | None, study: str, context: RunContext | None = None,
        owner: Owner | None = None,
    ) -> None:  # fmt: skip
        check_database(uri)
        self._uri, self._study, self._context = uri, study, context
        try:
            self._client = MlflowClient(tracking_uri=uri)
            found = open_experiment(self._client, uri, study, artifacts, owner)
        except MlflowException as error:
            raise UserError(f"{without_password(uri)}: MLflow cannot open it ({error.error_code})") from None
        except SQLAlchemyError as error:
            raise UserError(
                f"{without_password(uri)}: MLflow cannot open it ({type(error).__name__}); is the file damaged?"
            ) from None
        self._experiment, self.experiment_name = found.experiment_id, found.name
        self.reread()
        self._parent: Run | None = None

    def reread(self) -> None:
        """Look again at what MLflow has: after an error it may have taken what it did not acknowledge."""
        self._runs = runs_by_identity(self._client, self._experiment)
        self._steps: dict[str, set[int]] = {}
        self._ready: set[str] = set()

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

    def open_parent(
        self, parameters: Mapping[str, Any], tags: Mapping[str, str], description: str = ""
    ) -> None:
        """The parent run, new or as it is; the study's other runs name it as theirs.

        The description of a parent that is there stays: it may tell of an answer.
        """
        mark_experiment(self._client, self._experiment, "objective")
        self._parent = self._found("study")
        if self._parent is None:
            self._parent = self._create("study", "study", self._study, tags, None, description)
            log_parameters(self._client, self._parent, parameters)
        else:
            wanted = {**tags, **self._common(), MLFLOW_RUN_NAME: self._study}
            if description and MLFLOW_RUN_NOTE not in self._parent.data.tags:
                wanted[MLFLOW_RUN_NOTE] = description
            self._set_tags(self._parent, wanted)
        self._give_data(self._parent, "training")
        for identity, run in self._runs.items():
            parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID, self.parent_id)  # the parent itself has none
            if parent != self.parent_id and run.info.lifecycle_stage == "active":
                self._client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, self.parent_id)
                self._runs[identity] = self._client.get_run(run.info.run_id)

    def _common(self) -> dict[str, str]:
        return {} if self._context is None else self._context.tags()

    def _set_tags(self, run: Run, tags: Mapping[str, str]) -> None:
        """Those that the run has not got already."""
        new = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
        if new:
            self._client.log_batch(run.info.run_id, tags=new)

    def _give_data(self, run: Run, use: str) -> None:
        """Name the data set as the run's input, where it is not yet."""
        if self._context is not None and not (run.inputs and run.inputs.dataset_inputs):
            self._client.log_inputs(run.info.run_id, [self._context.dataset.input(use)])

    @cached_property
    def views(self) -> Views:
        """Views of the runs in MLflow's interface."""
        return Views(self._client, self._experiment, self._uri)

    def reopen_parent(self) -> None:
        """Say that the study goes on."""
        self._client.set_terminated(self.parent_id, "RUNNING")

    def _create(
        self, identity: str, role: str, name: str, tags: Mapping[str, str], parent: str | None, description: str
    ) -> Run:  # fmt: skip
        all_tags = {**tags, **self._common(), "sdl.role": role, "sdl.key": identity}
        if parent is not None:
            all_tags[MLFLOW_PARENT_RUN_ID] = parent
        if description:
            all_tags[MLFLOW_RUN_NOTE] = description
        run = self._client.create_run(self._experiment, run_name=name, tags=all_tags)
        self._runs[identity] = run
        self._steps[run.info.run_id] = set()
        return run

    def trial(self, trial: TrialRun) -> None:
        """Bring a trial's run up to its record: new epochs, then, once it ended, summary and status."""
        identity = f"trial/{trial.number}"
        run = self._found(identity)
        if run is not None and run.info.status == STATUS.get(trial.state):
            return
        if run is None:
            tags = {"sdl.trial": str(trial.number), "arm": trial.arm, "sdl.state": trial.state, **trial.tags}
            run = self._create(identity, "trial", trial.name, tags, self.parent_id, trial.description)
        self._complete(run, {"arm": trial.arm, **trial.parameters})
        steps = self._steps_of(run)
        log_epochs(
            self._client, run, {epoch: trial.epochs[epoch] for epoch in sorted(set(trial.epochs) - steps)}
        )
        steps.update(trial.epochs)
        if trial.state != "running":
            self._end_trial(identity, run, trial)

    def _complete(self, run: Run, parameters: Mapping[str, Any]) -> None:
        """Parameters and data set of a trial's run, looked at once."""
        if run.info.run_id not in self._ready:
            log_parameters(self._client, run, parameters)
            self._give_data(run, "training")
            self._ready.add(run.info.run_id)

    def _end_trial(self, identity: str, run: Run, trial: TrialRun) -> None:
        new = {key: value for key, value in trial.summary.items() if key not in run.data.metrics}
        tags = {"sdl.state": trial.state, **trial.tags}
        if trial.description:
            tags[MLFLOW_RUN_NOTE] = trial.description
        log_metrics(self._client, run, new, 0, tags)
        self._client.set_terminated(run.info.run_id, STATUS[trial.state])
        self._runs[identity] = self._client.get_run(run.info.run_id)

    def _steps_of(self, run: Run) -> set[int]:
        """Epochs that the run has already (of each all is written or nothing, so one key tells)."""
        run_id = run.info.run_id
        if run_id not in self._steps:
            history = self._client.get_metric_history(run_id, "train/loss")
            self._steps[run_id] = {metric.step for metric in history}
        return self._steps[run_id]

    def final(self, final: FinalRun) -> None:
        """One final or control that has ended; a run that is there and ended is left as it is."""
        run = self._found(final.key)
        if run is None:
            run = self._create(
                final.key, final.role, final.name, final.tags, self.parent_id, final.description
            )
        status = "FINISHED" if final.failure is None else "FAILED"
        if run.info.status != status:
            log_parameters(self._client, run, final.parameters)
            self._give_data(run, "evaluation")
            known = self._client.get_run(run.info.run_id).data.metrics
            log_metrics(
                self._client, run, {key: value for key, value in final.metrics.items() if key not in known}, 0
            )
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
        """End the parent run with the study's answer: metrics, tags and artifacts (a file, and the folder that it
        goes to).

        The answer of an extended study is a further step of the metrics that changed.
        """
        parent = self._client.get_run(self.parent_id)
        for key, value in metrics.items():
            if parent.data.metrics.get(key) != value:
                step = len(self._client.get_metric_history(self.parent_id, key))
                log_metrics(self._client, parent, {key: value}, step)
        self._set_tags(parent, tags)
        for path, folder in artifacts:
            self._client.log_artifact(self.parent_id, str(path), artifact_path=folder or None)
        self._client.set_terminated(self.parent_id, "FINISHED")

    def answered(self, declaration: str, with_records: bool) -> bool:
        """Whether the parent run is ended with the answer under a declaration, record-level files included."""
        parent = self._client.get_run(self.parent_id)
        tags = parent.data.tags
        complete = tags.get("sdl.record_artifacts") == "yes" or not with_records
        return complete and parent.info.status == "FINISHED" and tags.get("sdl.declaration") == declaration

    def show(self, description: str, page: Path) -> None:
        """Let the parent run, which is there, tell what the study came to, and show its page."""
        self._set_tags(self._shown, {MLFLOW_RUN_NOTE: description})
        self._client.log_artifact(self._shown.info.run_id, str(page))

    def registered(self, name: str, declaration: str) -> str | None:
        """The version of a registered model that the study's winner is (``registry.registered``)."""
        return registered(self._client, name, self._shown.info.run_id, declaration)

    def register(self, name: str, folder: Path, modality: str, declaration: str, description: str) -> str:
        """Make an exported folder, which is added to, a version of a registered model (``registry.register``)."""
        make_model(folder, modality)
        run = self._shown.info.run_id
        self._client.log_artifacts(run, str(folder), artifact_path=MODEL_FOLDER)
        return register(self._client, name, run, MODEL_FOLDER, declaration, description)

    @property
    def _shown(self) -> Run:
        """The parent run, which is there."""
        parent = self._found("study")
        if parent is None:
            raise RuntimeError("the study has no parent run")
        return parent

    def end_parent(self, status: str) -> None:
        """End the parent run without an answer ("KILLED", "FAILED"), where MLflow still can."""
        with suppress(*TRACKING_ERRORS):  # what ended the study is told, not what MLflow adds to it
            self._client.set_terminated(self.parent_id, status)
