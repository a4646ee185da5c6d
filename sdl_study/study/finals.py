"""Finals and controls under a declaration: run on the worker groups, scored once in the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.final import PREDICTIONS_FILE, require_test_labels, score_final
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.evaluation.predictions import FinalIdentity, metrics_from_predictions
from sdl_study.study.controls import UNTRAINED, controls_of, run_control
from sdl_study.study.jobs import JobMaker, Work, run_all
from sdl_study.study.plan import Plan
from sdl_study.study.progress import Progress
from sdl_study.study.selection import declaration_hash
from sdl_study.training.scores import SCORES_FILE
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Done, Event


@dataclass(frozen=True)
class Final:
    """One final or control that has ended.

    Attributes:
        name: the arm's, or the control's.
        role: "final" or "control".
        work: its job.
        result: dev metrics and costs; None where it failed.
        test: test metrics from its own predictions; None where it failed.
        failure: why it failed.
    """

    name: str
    role: str
    work: Work
    result: dict[str, Any] | None
    test: dict[str, float] | None
    failure: str | None

    @property
    def folder(self) -> Path:
        """Where its predictions and encoder lie."""
        return Path(self.work.job.folder)

    @property
    def predictions(self) -> Path:
        """Its scores of the test inputs, beside their labels."""
        return _predictions(self.work)


class Finals:
    """All finals of one declaration.

    Args:
        plan: the study.
        data: its prepared data set.
        maker: makes the jobs.
        declaration: what was declared.
        progress: prints.
        code_version: of this program, for the ledger of test data.
    """

    def __init__(
        self,
        plan: Plan,
        data: PreparedData,
        maker: JobMaker,
        declaration: dict[str, Any],
        progress: Progress,
        code_version: str,
    ) -> None:
        self.plan, self.data, self.progress = plan, data, progress
        self.declaration, self.code_version = declaration, code_version
        self.sha = declaration_hash(declaration)
        self._work = self._all(maker)

    def _all(self, maker: JobMaker) -> list[tuple[str, str, Work]]:
        """Every final and control; ``untrained`` is sd's encoder before training, with the same last stage."""
        winners = {winner["arm"]: winner["parameters"] for winner in self.declaration["winners"]}
        reference = "sd" if "sd" in winners else self.declaration["best_arm_on_dev"]
        found = []
        for number in range(self.plan.settings.budget.final_seeds):
            for arm, parameters in winners.items():
                found.append((arm, "final", maker.final(self.sha, arm, "final", arm, parameters, number)))
        for name in controls_of(self.data, self.plan.settings.controls):
            # The others learn nothing from a seed.
            chosen = winners[reference] if name == UNTRAINED else {}
            encoder = {key: value for key, value in chosen.items() if key.startswith("model.")}
            for number in range(self.plan.settings.budget.final_seeds if name == UNTRAINED else 1):
                control = maker.final(self.sha, name, "control", reference, encoder, number)
                found.append((name, "control", control))
        return found

    def todo(self) -> bool:
        """Whether a final has yet to be run or scored."""
        return any(
            not work.ended or (work.failure() is None and not _predictions(work).exists())
            for _, _, work in self._work
        )

    def _in_driver(self) -> list[tuple[str, Work]]:
        return [(name, work) for name, role, work in self._work if role == "control" and name != UNTRAINED]

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
        self.progress.say(f"finals: {len(self._work)} runs, declaration {self.sha[:12]}")
        for name, work in self._in_driver():
            if not work.ended:
                work.keep(Done(run_control(name, self.data, self.plan.settings, Path(work.job.folder))))
        in_driver = {work.job.key for _, work in self._in_driver()}
        lost = run_all(
            [work for _, _, work in self._work if work.job.key not in in_driver], engine.groups, self._told
        )
        if lost:
            raise UserError(
                f"{self.plan.name}: {len(lost)} finals did not end, for the reasons above, so the test labels stay "
                "closed; mend that and start the same command again"
            )
        for name, role, work in self._work:
            result = work.result()
            if result is None:
                continue
            test = self._score(name, role, work, result)
            metric = self.plan.settings.primary_metric.removeprefix("test/")
            self.progress.final(f"{role} {name}", work.seed_number, f"test/{metric} {test[metric]:.3f}")

    def _told(self, work: Work, event: Event) -> None:
        self.progress.job(work.job.key.split("/", 1)[1].replace(self.sha[:12] + "/", ""), work.job.arm, event)

    def _score(self, name: str, role: str, work: Work, result: Mapping[str, Any]) -> dict[str, float]:
        identity = FinalIdentity(self.plan.name, name, self.plan.settings.stage, work.seed_number, role)
        return score_final(
            self.data.path,
            Path(work.job.folder) / SCORES_FILE,
            identity,
            declaration_sha=self.sha,
            code_version=self.code_version,
            threshold=result["metrics"]["dev/threshold"],
            out_dir=work.job.folder,
        )

    def results(self) -> list[Final]:
        """All finals and controls with their test metrics, from their own predictions."""
        return [_ended(name, role, work) for name, role, work in self._work]

    def earlier_openings(self) -> list[str]:
        """Other declarations under which a study of this name had these data's test labels opened."""
        lines = read_ledger(self.data.path)
        return sorted(
            {
                line.declaration
                for line in lines
                if line.identity.study == self.plan.name
                and line.fingerprint == self.data.manifest.fingerprint
                and line.declaration != self.sha
            }
        )


def _ended(name: str, role: str, work: Work) -> Final:
    result = work.result()
    test = None if result is None else metrics_from_predictions(_predictions(work))
    return Final(name, role, work, result, test, work.failure())


def _predictions(work: Work) -> Path:
    return Path(work.job.folder) / PREDICTIONS_FILE
