"""Finals and controls under a declaration: run on the worker groups, scored once in the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdl_study.arms import BEFORE_TRAINING
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.final import require_test_labels, score_final
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.evaluation.predictions import FinalIdentity
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import FinalSlot, final_slots
from sdl_study.record.outcome import Failure, Result, read_outcome, write_outcome
from sdl_study.stages import PROBE
from sdl_study.study.controls import run_control
from sdl_study.study.jobs import JobMaker, Work, epochs_of, run_all
from sdl_study.study.plan import Plan
from sdl_study.study.progress import Progress
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Event


class Finals:
    """All finals of one declaration.

    Args:
        plan: the study.
        data: its prepared data set.
        maker: makes the jobs.
        declaration: what was declared.
        progress: prints.
        code_version: of this program, for the ledger of test data.
        opening: called when the ledger says that test labels will be opened, before they are.
    """

    def __init__(
        self,
        plan: Plan,
        data: PreparedData,
        maker: JobMaker,
        declaration: Declaration,
        progress: Progress,
        code_version: str,
        opening: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.data, self.progress = plan, data, progress
        self.declaration, self.code_version = declaration, code_version
        self.slots = final_slots(plan.files, declaration)
        self._maker, self._opening = maker, opening

    def todo(self) -> bool:
        """Whether a final has yet to be run or scored."""
        return any(self._owes(slot) for slot in self.slots)

    def _owes(self, slot: FinalSlot) -> bool:
        outcome = read_outcome(slot.folder)
        return outcome is None or (not isinstance(outcome, Failure) and not slot.predictions.exists())

    def check_test_labels(self) -> None:
        """Finals are pointless without the test labels.

        Raises:
            UserError: one line naming the file.
        """
        require_test_labels(self.data.path)

    def run(self, engine: Engine) -> None:
        """Run what has not ended yet; once all have, score what has no predictions yet.

        A final that failed by itself stays without a test result: the same seed would fail again.

        Raises:
            UserError: a final was ended by the machine or an unexpected exception; no test label is opened then.
        """
        self.progress.say(f"finals: {len(self.slots)} runs, declaration {self.declaration.sha[:12]}")
        in_driver = [s for s in self.slots if s.role == "control" and s.name not in BEFORE_TRAINING]
        for slot in in_driver:
            if read_outcome(slot.folder) is None:
                result = run_control(slot.name, self.data, self.plan.settings, slot.folder)
                write_outcome(slot.folder, result)
        for stage in self.declaration.stages:
            own = [slot for slot in self.slots if slot.stage == stage and slot not in in_driver]
            self._without_a_start(own)
            lost = run_all([self._maker.final(slot) for slot in own], engine, self._told)
            engine.check(self.plan.name)
            if lost:
                raise UserError(
                    f"{self.plan.name}: {len(lost)} finals did not end, for the reasons above, so the test labels stay "
                    "closed; mend that and start the same command again"
                )
        for slot in self.slots:
            outcome = read_outcome(slot.folder)
            if isinstance(outcome, Result):
                self._score(slot, outcome)

    def _without_a_start(self, slots: Sequence[FinalSlot]) -> None:
        """Where pretraining failed by itself, there is nothing to fine-tune."""
        for slot in slots:
            start = self._maker.starts_from(slot)
            before = None if start is None else read_outcome(start)
            if isinstance(before, Failure) and read_outcome(slot.folder) is None:
                slot.folder.mkdir(parents=True, exist_ok=True)
                write_outcome(slot.folder, Failure(f"its pretraining: {before.where}"))

    def _told(self, work: Work, event: Event) -> None:
        name = work.job.key.split("/", 1)[1].replace(self.declaration.sha[:12] + "/", "")
        self.progress.job(name, work.job.arm["name"], event, epochs_of(work.job))

    def _score(self, slot: FinalSlot, result: Result) -> None:
        test = score_final(
            self.data.path,
            slot.folder / SCORES_FILE,
            FinalIdentity(self.plan.name, slot.name, slot.stage, slot.seed_number, slot.role),
            declaration_sha=self.declaration.sha,
            code_version=self.code_version,
            threshold=result.metrics["dev/threshold"],
            out_dir=slot.folder,
            opening=self._opening,
        )
        metric = self.declaration.primary_metric.removeprefix("test/")
        name = f"{slot.role} {slot.name}" + ("" if slot.stage == PROBE else f" {slot.stage}")
        self.progress.final(name, slot.seed_number, f"test/{metric} {test[metric]:.3f}")

    def earlier_openings(self) -> list[str]:
        """Other declarations under which a study of this name had these data's test labels opened."""
        return sorted(
            {
                line.declaration
                for line in read_ledger(self.data.path)
                if line.identity.study == self.plan.name
                and line.fingerprint == self.data.manifest.fingerprint
                and line.declaration != self.declaration.sha
            }
        )
