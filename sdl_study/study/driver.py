"""The driver of one study: opens or resumes it, runs the search, declares, runs the finals, writes the answer.

Every step looks first at what is there already, so that the same command again goes on where the last one ended.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

import sdl_study
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
from sdl_study.study import selection
from sdl_study.study.answer import Answer
from sdl_study.study.checks import check_data_fits
from sdl_study.study.files import read_json, write_json
from sdl_study.study.finals import Finals
from sdl_study.study.jobs import JobMaker, run_all
from sdl_study.study.mlflow_view import trial_run
from sdl_study.study.plan import Plan, check_resume
from sdl_study.study.progress import Progress
from sdl_study.study.records import Records, TrialRecord
from sdl_study.study.sampler import sampler_for
from sdl_study.study.scheduler import rungs
from sdl_study.study.searcher import Search, run_search
from sdl_study.tracking import Tracker
from sdl_study.training.stages.scoring import ENCODER_FOLDER
from sdl_study.workers.engine import Engine

EngineSource = Callable[[], Engine]


class Driver:
    """One study on one prepared data set.

    Args:
        plan: the study, checked.
        data: its prepared data set.
        tracking_uri: MLflow server; None means the database beside the study.
        record_artifacts: let predictions, tokenizer and weights of restricted data into MLflow.

    Raises:
        UserError: the folder holds a study of this name that means something else, or the data do not fit it.
    """

    def __init__(
        self, plan: Plan, data: PreparedData, tracking_uri: str | None, record_artifacts: bool = False
    ) -> None:
        check_data_fits(plan.settings, data, plan.name)
        check_resume(plan, data.manifest.fingerprint)
        self.plan, self.data = plan, data
        self._records_may_leave = record_artifacts or data.manifest.terms == "open"
        settings, files = plan.settings, plan.files
        files.folder.mkdir(parents=True, exist_ok=True)
        if data.manifest.terms == "restricted":
            files.folder.chmod(0o700)  # scores and weights tell of patients
        fresh = not files.study_json.exists()
        content = plan.identity() | {
            "data_fingerprint": data.manifest.fingerprint,
            "terms": data.manifest.terms,
            "code_version": code_version(),
        }
        if fresh or _changed(files.study_json, content):
            write_json(files.study_json, content)
        self.records = Records(files.journal, plan.name, settings.arms, settings.objective)
        self.tracker = Tracker(
            tracking_uri or files.mlflow_uri, None if tracking_uri else files.artifacts, plan.name
        )
        self.tracker.open_parent(
            {"arms": ",".join(settings.arms), "objective": settings.objective, "seed": settings.seed},
            {
                "sdl.terms": data.manifest.terms,
                "sdl.data_fingerprint": data.manifest.fingerprint,
            },
        )
        self.maker = JobMaker(plan, data.path)
        self.progress = Progress(
            plan.name, settings.objective, settings.budget.trials * len(settings.arms), settings.train.epochs
        )
        self._mend()

    def _mend(self) -> None:
        """Bring MLflow up to the journal: what a crash left is written now, once."""
        records = self.records.all()
        for record in records:
            self.tracker.trial(trial_run(record, self.plan.settings.objective))
        self.progress.count(sum(record.state != "running" for record in records))

    # What the search tells (Observer).

    def started(self, record: TrialRecord) -> None:
        """A trial starts."""
        self.tracker.trial(trial_run(record, self.plan.settings.objective))

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """A trial finished an epoch."""
        self.tracker.trial(trial_run(record, self.plan.settings.objective))
        self.progress.epoch(record, epoch)

    def ended(self, record: TrialRecord) -> None:
        """A trial ended."""
        self.tracker.trial(trial_run(record, self.plan.settings.objective))
        self.progress.ended(record)

    # The study.

    def run(self, engine: EngineSource) -> Answer:
        """As ``_run``; the parent run is marked KILLED when it ends without an answer."""
        try:
            return self._run(engine)
        except BaseException:
            self.tracker.end_parent("KILLED")
            raise

    def _run(self, engine: EngineSource) -> Answer:
        """Search, select, declare, run the finals and answer; only what is not done yet.

        Args:
            engine: gives the running engine; called only when there is work for it.

        Raises:
            UserError: test labels are missing, an arm has no trial with a value, or no group could run.
        """
        if self.data.manifest.counts["test"].groups < 2:
            self.progress.say("the test split has one group (patient or image): there will be no verdict")
        self._search(engine)
        self._select(engine)
        records = self.records.all()
        found = selection.winners(self.plan, records, self.maker)
        declaration = selection.declare(self.plan, found, self.data.manifest.fingerprint, code_version())
        finals = Finals(self.plan, self.data, self.maker, declaration, self.progress, code_version())
        if finals.todo():
            self.tracker.reopen_parent()
            finals.check_test_labels()
            self._prepare_store()
            finals.run(engine())
            self._check(engine())
        answer = Answer(
            self.plan, self.data, declaration, records, finals.results(), finals.earlier_openings()
        )
        answer.write(self.tracker, self._record_files(answer) if self._records_may_leave else [])
        return answer

    def _record_files(self, answer: Answer) -> list[tuple[Path, str]]:
        """Predictions and encoder of the best arm, with the tokenizer that it reads."""
        store = open_store(self.data, self.plan.settings.data.store, self.plan.files.stores)
        tokenizer = getattr(store, "tokenizer_dir", None)
        return [*answer.record_files(), *([(tokenizer, ENCODER_FOLDER)] if tokenizer else [])]

    def _prepare_store(self) -> None:
        """Tokens or images, once per study, before any worker maps them."""
        open_store(self.data, self.plan.settings.data.store, self.plan.files.stores)

    def _search(self, engine: EngineSource) -> None:
        settings = self.plan.settings
        search = Search(
            records=self.records,
            ask=self._ask,
            job=self.maker.trial,
            trials=settings.budget.trials,
            rungs=rungs(settings.train.epochs, settings.budget.first_rung, settings.budget.reduction_factor),
            reduction_factor=settings.budget.reduction_factor,
            concurrent=1,
            epochs=settings.train.epochs,
            max_attempts=settings.budget.max_attempts,
            observer=self,
        )
        if search.finished:
            return
        self.tracker.reopen_parent()
        self._prepare_store()
        running = engine()
        search.concurrent = running.groups
        search.aborted = lambda: running.error is not None
        run_search(search, running.folder, self.plan.name)
        self._check(running)
        if search.gave_up:
            raise UserError(
                f"{self.plan.name}: the machine ended {search.lost} trials (memory, lost nodes); mend that and start "
                "the same command again"
            )

    def _check(self, engine: Engine) -> None:
        if engine.error:
            raise UserError(f"{self.plan.name}: {engine.error}; Ray's logs say why: {engine.logs}")

    def _ask(self, arm: str) -> TrialRecord:
        plan, study = self.plan, self.records.optuna_study(arm)
        fixed = plan.fixed()

        def sampler_of(number: int) -> tuple[optuna.samplers.BaseSampler, str]:
            return sampler_for(study, plan.settings.seed, arm, number, plan.settings.budget.trials)

        return self.records.ask(
            arm,
            sampler_of,
            lambda trial: plan.space.suggest(trial, arm, fixed),
            plan.space.published_point(arm, fixed),
        )

    def _select(self, engine: EngineSource) -> None:
        work = selection.repeats(self.plan, self.records.all(), self.maker)
        if all(item.ended for item in work):
            return
        self.progress.say(f"selection: {len(work)} repeats on further seeds")
        self._prepare_store()
        running = engine()
        lost = run_all(
            work, running.groups, lambda item, event: self.progress.job(item.job.key, item.job.arm, event)
        )
        self._check(running)
        if lost:
            raise UserError(
                f"{self.plan.name}: {len(lost)} repeats of the selection did not end, for the reasons above; mend "
                "that and start the same command again"
            )


def _changed(path: Path, content: dict[str, Any]) -> bool:
    return read_json(path)["settings"] != content["settings"]


def code_version() -> str:
    """Version of the package, with the commit where it runs from a clone."""
    root = Path(sdl_study.__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return sdl_study.__version__
    found = subprocess.run(
        [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (
        f"{sdl_study.__version__}+{found.stdout.strip()}" if found.returncode == 0 else sdl_study.__version__
    )
