"""The answer of a study: test results by arm, the primary contrast, the leaderboard, and what goes to MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from sdl_study.arms import ARMS
from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.statistics import (
    Comparison,
    UndefinedMetricError,
    compare,
    correct_secondary,
)
from sdl_study.report.tables import csv_table, text_table
from sdl_study.study.controls import LABEL_PRIOR, TFIDF
from sdl_study.study.files import read_json, write_json
from sdl_study.study.finals import Final
from sdl_study.study.mlflow_view import final_run
from sdl_study.study.plan import Plan
from sdl_study.study.records import TrialRecord
from sdl_study.study.selection import declaration_hash
from sdl_study.tracking import Tracker
from sdl_study.training.stages.scoring import ENCODER_FOLDER

_COLUMNS = {"arm": "", "encoder": "", "τ": ".3f", "dev": ".4f", "test": ".4f", "seconds": ".1f"}


class Answer:
    """What a study came to.

    Args:
        plan: the study.
        data: its prepared data set.
        declaration: under which the finals ran.
        records: the trials.
        finals: the finals and controls.
        earlier: other declarations under which this study's test labels had been opened before.
    """

    def __init__(
        self,
        plan: Plan,
        data: PreparedData,
        declaration: dict[str, Any],
        records: Sequence[TrialRecord],
        finals: Sequence[Final],
        earlier: Sequence[str] = (),
    ) -> None:
        self.plan, self.data, self.declaration = plan, data, declaration
        self.records, self.finals, self.earlier = records, finals, earlier
        self.metric = plan.settings.primary_metric.removeprefix("test/")

    def of(self, name: str) -> list[Final]:
        """The finals of an arm or control, by seed."""
        return [final for final in self.finals if final.name == name]

    def mean(self, name: str, key: str) -> float | None:
        """Mean test metric over an arm's seeds; None where one of them failed."""
        values = [final.test[key] for final in self.of(name) if final.test is not None]
        return fmean(values) if len(values) == len(self.of(name)) else None

    @property
    def contrasts(self) -> list[Comparison]:
        """The declared contrast, then the secondary ones; empty where there are none or no verdict is possible.

        Secondary are ``sd_weighted`` against the same arm and ``sd`` against the others, Holm-corrected.
        """
        return self._compared[0]

    @property
    def no_verdict(self) -> str | None:
        """Why there is no verdict on the declared contrast, or on a secondary one."""
        return self._compared[1]

    @cached_property
    def _compared(self) -> tuple[list[Comparison], str | None]:
        declared = self.declaration["primary_contrast"]
        if declared is None:
            return [], None
        failed = {final.name for final in self.finals if final.failure is not None}
        if failed & set(declared):
            return [], f"a final of {' and of '.join(arm for arm in declared if arm in failed)} failed"
        arms = [w["arm"] for w in self.declaration["winners"] if w["arm"] not in failed]
        pairs = [(arm, declared[1]) for arm in arms if ARMS[arm].is_sd and arm != declared[0]]
        pairs += [(declared[0], arm) for arm in arms if not ARMS[arm].is_sd and arm != declared[1]]
        try:
            primary = self._compare(*declared)
        except UndefinedMetricError as error:
            return [], str(error)
        secondary, undefined = [], []
        for first, second in pairs:
            try:
                secondary.append(self._compare(first, second))
            except UndefinedMetricError as error:
                undefined.append(f"{first} against {second}: {error}")
        return [primary, *correct_secondary(secondary)], "; ".join(undefined) or None

    def _compare(self, first: str, second: str) -> Comparison:
        predictions = [[final.predictions for final in self.of(arm)] for arm in (first, second)]
        return compare(*predictions, metric=self.metric)

    @property
    def primary(self) -> Comparison | None:
        """The declared contrast, with its interval and verdict."""
        return self.contrasts[0] if self.contrasts else None

    def rows(self) -> list[dict[str, Any]]:
        """The table at the end: one row per arm and control."""
        dev = {winner["arm"]: winner["dev"] for winner in self.declaration["winners"]}
        found = []
        for name in dict.fromkeys(final.name for final in self.finals):
            finals = self.of(name)
            results = [final.result for final in finals if final.result is not None]
            parameters = finals[0].work.parameters
            is_arm = finals[0].role == "final"
            seconds = sum(r.seconds for r in self.records if r.arm == name) if is_arm else 0.0
            objective = [result["metrics"][self.plan.settings.objective] for result in results]
            found.append(
                {
                    "arm": name if is_arm else f"{name} (control)",
                    "encoder": None
                    if name in (LABEL_PRIOR, TFIDF)
                    else parameters.get("model.encoder", self.plan.settings.model.encoder),
                    "τ": parameters.get("loss.temperature") if is_arm else None,
                    "dev": dev.get(name, fmean(objective) if objective else None),
                    "test": self.mean(name, self.metric),
                    "seconds": round(seconds + sum(result["seconds"] for result in results), 1),
                }
            )
        return found

    def text(self) -> str:
        """The table and the verdict, as printed."""
        head = (
            f"{self.plan.name}: dev {self.plan.settings.objective.removeprefix('dev/')} of the chosen trial, "
            f"test {self.metric} ({self.plan.settings.stage}), seconds of the arm's trials and finals"
        )
        lines = [head, text_table(self.rows(), _COLUMNS)]
        lines += [
            f"{final.role} of {final.name}, seed {final.work.seed_number}, failed: {final.failure}"
            for final in self.finals
            if final.failure is not None
        ]
        if self.earlier:
            lines.append(
                "exploratory, without a verdict: test data of this study had been scored before the search ended "
                f"(declaration {', '.join(sha[:12] for sha in self.earlier)})"
            )
        names = ["primary contrast", *["secondary"] * len(self.contrasts[1:])]
        lines += [
            f"{name}: {self._sentence(contrast)}"
            for name, contrast in zip(names, self.contrasts, strict=False)
        ]
        if self.no_verdict:
            lines.append(f"no verdict: {self.no_verdict}")
        return "\n".join(lines)

    def _sentence(self, contrast: Comparison) -> str:
        if not self.earlier:
            return contrast.sentence()
        return (
            f"{contrast.first} against {contrast.second}, {contrast.metric} ({contrast.stage}): "
            f"{contrast.difference:+.4f}, exploratory"
        )

    def leaderboard(self) -> list[dict[str, Any]]:
        """Every trial, best first within its arm, as in leaderboard.csv."""
        names = sorted({name for record in self.records for name in record.parameters})
        ordered = sorted(
            self.records, key=lambda r: (r.arm, -(r.objective if r.objective is not None else -1.0))
        )
        return [
            {
                "trial": record.number,
                "arm": record.arm,
                "state": record.state,
                "objective": record.objective,
                "best_epoch": record.best_epoch(self.plan.settings.objective),
                "epochs": len(record.epochs),
                "seconds": round(record.seconds, 3),
                "sampled_by": record.sampled_by,
                "reason": record.reason,
                **{name: record.parameters.get(name) for name in names},
            }
            for record in ordered
        ]

    def write(self, tracker: Tracker, record_files: list[tuple[Path, str]]) -> None:
        """Finals into MLflow, files into the study's folder, the answer onto the parent run; once.

        Args:
            tracker: of the study.
            record_files: record-level files and weights that may go into MLflow as well.
        """
        for final in self.finals:
            tracker.final(final_run(final, self.plan.settings.stage, self._trials(final.name)))
        tracker.supersede({final.work.job.key for final in self.finals})
        files = self.plan.files
        board = self.leaderboard()
        _write_text(files.leaderboard, csv_table(board, list(board[0])))
        content = self._content()
        before = read_json(files.answer) if files.answer.exists() else None
        same = json.dumps(before, sort_keys=True) == json.dumps(content, sort_keys=True)
        if same and tracker.answered(content["declaration"], with_records=bool(record_files)):
            return
        write_json(files.answer, content)
        best = self.declaration["best_arm_on_dev"]
        metrics = self._test_metrics(best)
        tags = {"sdl.declaration": content["declaration"], "sdl.best_arm": best}
        if record_files:
            tags["sdl.record_artifacts"] = "yes"  # stays: what is there was put there
        if self.no_verdict:
            tags["answer/verdict"] = f"no verdict: {self.no_verdict}"
        if self.primary is not None:
            tags |= {
                "answer/verdict": "exploratory" if self.earlier else self.primary.word,
                "answer/contrast": f"{self.primary.first} - {self.primary.second}",
            }
            metrics |= _numbers(self.primary)
        own_files = [(path, "") for path in (files.study_json, files.declaration, files.leaderboard)]
        tracker.answer(metrics, tags, [*own_files, *record_files])

    def _content(self) -> dict[str, Any]:
        return {
            "declaration": declaration_hash(self.declaration),
            "trials": len(self.records),
            "exploratory": list(self.earlier),
            "no_verdict": self.no_verdict,
            "failed": {final.work.job.key: final.failure for final in self.finals if final.failure},
            "primary": None if self.primary is None else asdict(self.primary),
            "secondary": [asdict(comparison) for comparison in self.contrasts[1:]],
            "table": self.rows(),
        }

    def _trials(self, arm: str) -> int:
        """What the arm was given: trials that the machine ended are asked anew and do not count."""
        return sum(record.arm == arm and record.failure != "machine" for record in self.records)

    def _test_metrics(self, name: str) -> dict[str, float]:
        """Every test metric of an arm, mean over its seeds; none where one of them failed."""
        tests = [final.test for final in self.of(name) if final.test is not None]
        if len(tests) < len(self.of(name)):
            return {}
        return {f"test/{key}": fmean(test[key] for test in tests) for key in tests[0]}

    def record_files(self) -> list[tuple[Path, str]]:
        """Predictions and encoder of the best arm, each with its folder among the artifacts."""
        finals = [f for f in self.of(self.declaration["best_arm_on_dev"]) if f.failure is None]
        return [
            pair
            for first in finals[:1]
            for pair in ((first.predictions, ""), (first.folder / ENCODER_FOLDER, ENCODER_FOLDER))
        ]


def _numbers(comparison: Comparison) -> dict[str, float]:
    """The primary contrast as metrics of the parent run."""
    found = {"answer/delta": comparison.difference, "answer/seeds": float(len(comparison.seeds))}
    if comparison.interval is not None:
        found |= {
            "answer/low": comparison.interval.low,
            "answer/high": comparison.interval.high,
            "answer/p_value": comparison.interval.p_value,
            "answer/detectable": comparison.interval.detectable,
        }
    return found


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
