"""The driver of one study: opens or resumes it, runs the search, declares, runs the finals, writes the answer.

Every step looks first at what is there already, so that the same command again goes on where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from types import TracebackType
from typing import Any

import optuna

from sdl_study.budget import ended_words
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import Store, open_store
from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.evaluation.final import has_test_labels
from sdl_study.files import read_json, write_json
from sdl_study.record.answer import Answer, make_answer
from sdl_study.record.environment import environment, note_environment
from sdl_study.record.finals import of_stage, read_finals
from sdl_study.record.journal import DriverJournal, open_for_driver
from sdl_study.record.trials import TrialRecord, spent_on
from sdl_study.study import selection
from sdl_study.study.checks import check_data_fits, check_gpu_hours, objective_labels
from sdl_study.study.controls import controls_of
from sdl_study.study.finals import Finals
from sdl_study.study.jobs import JobMaker, epochs_of, run_all
from sdl_study.study.learnable import unable_lines
from sdl_study.study.leftovers import Leftovers
from sdl_study.study.numerics import numerics
from sdl_study.study.opening import open_tracker, owner_of
from sdl_study.study.plan import Plan, check_resume
from sdl_study.study.progress import Progress
from sdl_study.study.publish import publish, record_files
from sdl_study.study.publisher import TrialPublisher
from sdl_study.study.readings import candidates, check_encoders_fit, check_readings, seen_before
from sdl_study.study.search.sampler import sampler_for
from sdl_study.study.search.scheduler import first_rung, longest, rungs
from sdl_study.study.search.searcher import Search
from sdl_study.study.search.tuning import run_search
from sdl_study.study.session_storage import FOLDER_ALONE, Storage
from sdl_study.tracking import TRACKING_ERRORS, Owner, Tracker, error_name
from sdl_study.version import code_version
from sdl_study.workers.engine import Engine

EngineSource = Callable[[], Engine]


class Driver:
    """One study on one prepared data set; a context manager that holds the study against other drivers.

    Args:
        plan: the study, checked.
        data: its prepared data set.
        tracking_uri: MLflow server; None means the database beside the study.
        record_artifacts: let predictions, tokenizer and weights of restricted data into MLflow.
        storage: is told what must be there before it shows elsewhere.

    Raises:
        UserError: the folder holds a study of this name that means something else, the data do not fit it, or (when
            it is entered) another process runs it.
    """

    journal: DriverJournal
    tracker: Tracker

    def __init__(
        self, plan: Plan, data: PreparedData, tracking_uri: str | None, record_artifacts: bool = False,
        storage: Storage = FOLDER_ALONE,
    ) -> None:  # fmt: skip
        check_data_fits(plan.settings, data, plan.name, plan.module)
        check_resume(plan, data.manifest.fingerprint)
        self.plan, self.data = plan, data
        self._tracking_uri, self._storage = tracking_uri, storage
        self._records_may_leave = record_artifacts or data.manifest.terms == "open"
        folds = plan.settings.budget.uses_folds(data.manifest.counts["dev"].examples)
        self._open, self.maker = ExitStack(), JobMaker(plan, data.path, folds)
        self.leftovers = Leftovers(plan.files)
        settings = plan.settings
        trials = settings.budget.trials * len(plan.arms)
        self.objective_labels = objective_labels(settings, data)
        self.progress = Progress(
            plan.name, settings.objective_key, trials, settings.train.epochs, plan.arms, settings.budget
        )

    def __enter__(self) -> Driver:
        plan, files, settings, manifest = self.plan, self.plan.files, self.plan.settings, self.data.manifest
        with ExitStack() as opening:
            self.journal = opening.enter_context(
                open_for_driver(files, plan.arm_names, settings.objective_key, settings.budget.searches)
            )
            check_resume(plan, manifest.fingerprint)
            if manifest.terms == "restricted":
                files.folder.chmod(0o700)  # scores and weights tell of patients
            owner = self._write_identity()
            base, warm = plan.over and plan.over[1], plan.warm and plan.warm.study
            found = environment(code_version(), plan.reference, plan.overrides, numerics(), base, warm)
            note_environment(files, found)
            self.tracker = open_tracker(
                plan, manifest, self._tracking_uri, found, self.objective_labels, owner
            )
            if self.tracker.experiment_name != plan.name:
                self.progress.say(f"MLflow: runs go to the experiment {self.tracker.experiment_name}")
            self.publisher = TrialPublisher(self.tracker, plan, self.progress.say)
            self._mend()
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _write_identity(self) -> Owner:
        """study.json, where there is none yet or something changed that may; whose it is in MLflow."""
        path = self.plan.files.study_json
        content = self.plan.identity() | {
            "data_fingerprint": self.data.manifest.fingerprint,
            "terms": self.data.manifest.terms,
        }
        before: dict[str, Any] = read_json(path) if path.exists() else {}
        owner = owner_of(path)
        if {key: before.get(key) for key in content} != content:
            write_json(path, content | {"code_version": code_version(), "id": owner.study})
        return owner

    def _mend(self) -> None:
        """Bring MLflow up to the journal: what a crash left is written now, once, or removed."""
        records = self.journal.all()
        for record in records:
            self.publisher.tell(record)
            if record.state != "running":
                self.leftovers.ended(record)
        self.progress.count(records)

    def run(self, engine: EngineSource) -> Answer:
        """As ``_run``; the parent run is marked KILLED when it ends without an answer."""
        try:
            return self._run(engine)
        except BaseException:
            self.publisher.end_parent("KILLED")
            raise

    def _run(self, source: EngineSource) -> Answer:
        """Search, select, declare, run the finals and answer; only what is not done yet.

        Args:
            source: gives the running engine; called only when there is work for it.

        Raises:
            UserError: test labels are missing, an arm has no trial with a value, or no group could run.
        """
        if self.data.manifest.counts["test"].groups < 2:
            self.progress.say("the test split has one group (patient or image): there will be no verdict")
        if self.objective_labels is not None and self.objective_labels < self.data.manifest.num_labels:
            self.progress.say(
                f"{self.plan.settings.objective} as objective counts {self.objective_labels} of "
                f"{self.data.manifest.num_labels} labels"
            )
        for words in self._seen():
            self.progress.say(words)
        engine = cache(lambda: self._prepared(source))
        self._search(engine)
        self.publisher.settle()
        self._select(engine)
        finals = self._declare()
        if finals.todo():
            self.publisher.reopen_parent()
            finals.check_test_labels()
            finals.run(engine())
        return self._answer(finals)

    def _declare(self) -> Finals:
        plan, fingerprint = self.plan, self.data.manifest.fingerprint
        trials = self.journal.all()
        found = selection.winners(plan, trials, self.maker)
        controls = controls_of(self.data, plan.settings.controls)
        spent = spent_on(trials, self.journal.searches, self.journal.seconds)
        declaration = selection.declare(
            plan, found, trials, controls, fingerprint, code_version(), spent, self.maker.folds
        )
        more = code_version(), self._storage.opening
        return Finals(plan, self.data, self.maker, declaration, self.progress, *more)

    def _answer(self, finals: Finals) -> Answer:
        trials, ended = self.journal.all(), read_finals(self.plan.files, finals.declaration)
        answer = make_answer(
            self.plan.settings, self.plan.space, self.plan.arms, finals.declaration, trials, ended,
            finals.earlier_openings(), self.objective_labels, self._seen(), self.plan.published, self.maker.folds,
        )  # fmt: skip
        shown = of_stage(ended, answer.stage)
        records = record_files(shown, answer.best_arm) if self._records_may_leave else []
        try:
            publish(answer, trials, ended, self.plan, self.tracker, records)
        except TRACKING_ERRORS as error:
            raise MachineFailure(
                f"{self.plan.name}: MLflow does not take the answer ({error_name(error)}); all trials and finals are "
                "kept, and the same command writes it"
            ) from None
        self.leftovers.finals(finals.slots)
        return answer

    def _seen(self) -> tuple[str, ...]:
        return seen_before(self.plan.space, self.plan.settings, self.data.manifest.source)

    def _store(self, reading: Mapping[str, Any]) -> Store:
        """Tokens or images, built where they are not there yet."""
        return open_store(self.data, reading, self.plan.files.stores)

    def _prepared(self, engine: EngineSource) -> Engine:
        """The running engine; before a worker maps the stores, they are there, and the encoders fit them."""
        plan, settings = self.plan, self.plan.settings
        found = candidates(plan.space, settings, plan.name, plan.module)
        check_readings(found, self.data.manifest.modality, settings.data.store, plan.name)
        check_encoders_fit(found, lambda reading: self._store(reading).spec, plan.name)
        return engine()

    def _search(self, engine: EngineSource) -> None:
        settings = self.plan.settings
        search = Search(
            journal=self.journal,
            ask=self._ask,
            job=self.maker.trial,
            trials=settings.budget.trials_of_search,
            rungs=rungs(
                longest(settings, self.plan.space), self._first_rung(), settings.budget.reduction_factor
            ),
            reduction_factor=settings.budget.reduction_factor,
            concurrent=lambda: 1,
            epochs=settings.train.epochs,
            max_attempts=settings.budget.max_attempts,
            observers=(self._storage, self.publisher, self.progress, self.leftovers),
            show=self.progress.failure,
            budget=settings.budget,
        )
        if search.finished:
            return
        self.progress.spent = lambda: search.spent
        if not has_test_labels(self.data.path):  # said now: the search may take days
            self.progress.say(f"no test labels in {self.data.path}: the study will end at its declaration")
        warm = () if self.plan.warm is None else self.plan.warm.lines(self.data.manifest.fingerprint)
        for line in (*warm, *unable_lines(self.plan, self.data)):
            self.progress.say(line)
        self.publisher.reopen_parent()
        running = engine()
        search.concurrent = lambda: running.groups
        search.aborted = lambda: running.error is not None
        search.broker, search.release = running.broker_name, running.release
        search.wants, search.gpus = running.wants, running.gpus_of_trial
        check_gpu_hours(settings.budget, self.plan.name, search.gpus > 0)
        with self.publisher.in_background():
            run_search(search, running.folder, self.plan.name)
        running.check(self.plan.name)
        if search.ended_by in ("hours", "gpu_hours"):
            self.progress.say(ended_words(search.ended_by, settings.budget, search.spent))
        if search.gave_up:
            raise UserError(
                f"{self.plan.name}: the machine ended {search.lost} trials (memory, lost nodes); mend that and start "
                "the same command again"
            )

    def _first_rung(self) -> int:
        return first_rung(self.plan.settings, self.plan.space, self.data.manifest.counts["train"].examples)

    def _ask(self, arm: str, search: int = 0) -> TrialRecord:
        plan, study = self.plan, self.journal.optuna_study(arm, search)
        fixed, trials, first = plan.fixed(arm), plan.settings.budget.trials_of_search, plan.first_points(arm)

        def sampler_of(number: int) -> tuple[optuna.samplers.BaseSampler, str]:
            return sampler_for(study, plan.settings.seed, arm, number, trials, search, len(first) - 1)

        return self.journal.ask(
            arm,
            sampler_of,
            lambda trial: plan.space.suggest(trial, arm, fixed),
            first,
            search,
        )

    def _select(self, engine: EngineSource) -> None:
        work = selection.repeats(self.plan, self.journal.all(), self.maker)
        self.leftovers.repeats(item.folder for item in work)
        if all(item.outcome is not None for item in work):
            return
        on = ", each on a fold of train and dev" if self.maker.folds else ""
        self.progress.say(f"selection: {len(work)} repeats on further seeds{on}")
        running = engine()
        lost = run_all(
            work,
            running,
            lambda item, event: self.progress.job(
                item.job.key, item.job.arm["name"], event, epochs_of(item.job)
            ),
        )
        running.check(self.plan.name)
        self.leftovers.repeats(item.folder for item in work)
        if lost:
            raise UserError(
                f"{self.plan.name}: {len(lost)} repeats of the selection did not end, for the reasons above; mend "
                "that and start the same command again"
            )
