"""The table of an answer: one row per arm and control, with what its trials and finals tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from sdl_study.arms import BEFORE_TRAINING, Arm
from sdl_study.config import Settings
from sdl_study.evaluation.metrics import lower_is_better
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import Final, Role, of_stage
from sdl_study.record.findings import Convergence, Edge, convergence, could_learn, edges, valid_anchors
from sdl_study.record.trials import TrialRecord
from sdl_study.space import SearchSpace
from sdl_study.stages import PROBE, Stage


@dataclass(frozen=True)
class Row:
    """An arm or control in one of the tables at the end.

    Attributes:
        name: the arm's, or the control's.
        role: which of the two.
        encoder: None for a control without one; of an arm with several searches, the best winner's on dev.
        temperature: None where there is none; of several searches as the encoder.
        dev: of the chosen trial, mean over searches; a control's own, but None where the trials' is over folds of
            train and dev, on which it was not. None after fine-tuning: trials are probed, and the two are not to be
            mixed.
        test: mean of the primary metric over the final seeds; None where one of them failed.
        seconds: of all its trials and finals.
        convergence: of an arm; None for a control, and where no winner tells.
        edges: an arm's parameters at an end of their range; of several searches, those of every winner.
        valid_anchors: mean share of an arm's rows that had something to be contrasted with.
        could_learn: whether that is enough.
        margins: of an arm, how far its test value lies above each control's (below: negative), and the other way
            round for a metric where less is better; without those that have no value.
        dev_of_finals: mean over the final seeds; that of the search is the best of many, and so too high.
        spread: standard deviation of the test values over the finals; None with one.
    """

    name: str
    role: Role
    encoder: str | None
    temperature: float | None
    dev: float | None
    test: float | None
    seconds: float
    convergence: Convergence | None = None
    edges: tuple[Edge, ...] = ()
    valid_anchors: float | None = None
    could_learn: bool = True
    margins: Mapping[str, float] = field(default_factory=dict)
    dev_of_finals: float | None = None
    spread: float | None = None


def mean_test(finals: Sequence[Final], name: str) -> dict[str, float]:
    """Every test metric of an arm or control, mean over its seeds; none where one of them failed."""
    own = [final for final in finals if final.name == name]
    tests = [final.test for final in own if final.test is not None]
    if not own or len(tests) < len(own):
        return {}
    return {key: fmean(test[key] for test in tests) for key in tests[0]}


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of one study after one of its last stages.

    Args:
        settings, space, arms: the study's.
        declaration: under which the finals ran.
        trials, finals: all of them.
        stage: whose finals the rows are about.
        folds: whether winners were chosen on folds of train and dev.
    """

    settings: Settings
    space: SearchSpace
    arms: Mapping[str, Arm]
    declaration: Declaration
    trials: Sequence[TrialRecord]
    finals: Sequence[Final]
    stage: Stage = PROBE
    folds: bool = False

    def rows(self) -> tuple[Row, ...]:
        """Arms, then controls, in the order of their finals."""
        names = dict.fromkeys(final.name for final in self._own() if not final.slot.is_again)
        found = [self._row(name) for name in names]
        tests = {row.name: row.test for row in found if row.role == "control" and row.test is not None}
        return tuple(replace(row, margins=self._margins(row, tests)) for row in found)

    def _own(self) -> list[Final]:
        return of_stage(self.finals, self.stage)

    def _row(self, name: str) -> Row:
        own = [final for final in self._own() if final.name == name]
        results = [final.result for final in own if final.result is not None]
        tests = [final.test[self._metric] for final in own if final.test is not None]
        dev = fmean(result.metrics[self.settings.objective_key] for result in results) if results else None
        seconds = sum(result.seconds for result in results)
        row = Row(
            name=name,
            role=own[0].role,
            encoder=self._encoder(own[0].slot.parameters)
            if own[0].role == "final" or name in BEFORE_TRAINING
            else None,
            temperature=None,
            dev=dev if self.stage == PROBE and not self.folds else None,
            test=mean_test(own, name).get(self._metric),
            seconds=round(seconds, 1),
            dev_of_finals=dev,
            spread=stdev(tests) if len(tests) > 1 else None,
        )
        return row if row.role == "control" else self._with_arm(row, seconds)

    def _with_arm(self, row: Row, seconds: float) -> Row:
        """The row with what the arm's trials tell."""
        name, declaration = row.name, self.declaration
        winners = [winner for winner in declaration.winners if winner.arm == name]
        chosen = {winner.trial for winner in winners}
        trials = [trial for trial in self.trials if trial.number in chosen]
        parameters = declaration.winner(name).parameters
        spent = sum(trial.seconds for trial in self.trials if trial.arm == name)
        at_edge = [edge for winner in winners for edge in edges(self.space, name, winner.parameters)]
        return replace(
            row,
            encoder=self._encoder(parameters),
            temperature=_temperature(self.settings, self.arms[name], parameters),
            dev=declaration.dev(name) if self.stage == PROBE else None,
            seconds=round(spent + seconds, 1),
            convergence=convergence(trials, self.settings.objective_key, self._dev_of_finals(name)),
            edges=tuple(dict.fromkeys(at_edge)),
            valid_anchors=valid_anchors(trials),
            could_learn=could_learn(trials),
        )

    def _dev_of_finals(self, name: str) -> list[list[float]]:
        """Dev of an arm's finals after the probe, as its trials have it, those of one winner together."""
        found: list[list[float]] = [[] for _ in range(self.declaration.searches)]
        for final in of_stage(self.finals, PROBE):
            if final.name == name and final.result is not None:
                value = final.result.metrics[self.settings.objective_key]
                found[final.slot.search].append(value)
        return found

    def _encoder(self, parameters: Mapping[str, Any]) -> str:
        return str(parameters.get("model.encoder", self.settings.model.encoder))

    @property
    def _metric(self) -> str:
        return self.declaration.primary_metric.removeprefix("test/")

    def _margins(self, row: Row, tests: Mapping[str, float]) -> dict[str, float]:
        if row.role == "control" or row.test is None:
            return {}
        sign = -1.0 if lower_is_better(self._metric) else 1.0
        return {name: sign * (row.test - value) for name, value in tests.items()}


def _temperature(settings: Settings, arm: Arm, parameters: Mapping[str, Any]) -> float | None:
    """The temperature of an arm: searched, fixed by the arm or the study; None where its loss has none or its own."""
    if arm.pretraining == "supervised":
        return None
    fixed = arm.fixed.get("temperature", settings.loss.get("temperature"))
    found = parameters.get("loss.temperature", fixed)
    return None if found is None else float(found)
