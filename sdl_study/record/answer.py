"""answer.json: what a study came to, as numbers and names. How it is worded belongs to report/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sdl_study.arms import BEFORE_TRAINING, Arm
from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.evaluation.verdict import (
    Comparison,
    Interval,
    UndefinedMetricError,
    compare,
    correct_secondary,
)
from sdl_study.files import read_json
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import Final, Role
from sdl_study.record.trials import TrialRecord


@dataclass(frozen=True)
class Row:
    """An arm or control in the table at the end.

    Attributes:
        name: the arm's, or the control's.
        role: which of the two.
        encoder: None for a control without one.
        temperature: None where there is none.
        dev: of the chosen trial; a control's own.
        test: mean of the primary metric over the final seeds; None where one of them failed.
        seconds: of all its trials and finals.
    """

    name: str
    role: Role
    encoder: str | None
    temperature: float | None
    dev: float | None
    test: float | None
    seconds: float


@dataclass(frozen=True)
class FailedFinal:
    """A final or control that failed by its own setting."""

    name: str
    role: Role
    seed_number: int
    where: str


@dataclass(frozen=True)
class Answer:
    """What a study came to.

    Attributes:
        study: its name.
        declaration: SHA-256 of the declaration under which the finals ran.
        objective, metric, stage: what was searched for on dev, what is compared on test, after which last stage.
        trials: how many there were.
        best_arm: best on dev; whose test metrics are the study's.
        exploratory: other declarations under which test data of this study had been scored before.
        table: one row per arm and control.
        failed: finals that failed by their own setting.
        primary: the declared contrast; None without one, or without a verdict.
        secondary: the method's other variants against the same arm, then the method against the others, after
            Holm's correction.
        no_verdict: why there is none on the declared contrast, or on a secondary one.
        objective_labels: how many labels count in an objective that is taken over some of them; None where it is the
            metric itself.
    """

    study: str
    declaration: str
    objective: str
    metric: str
    stage: str
    trials: int
    best_arm: str
    exploratory: tuple[str, ...]
    table: tuple[Row, ...]
    failed: tuple[FailedFinal, ...]
    primary: Comparison | None
    secondary: tuple[Comparison, ...]
    no_verdict: str | None
    objective_labels: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in answer.json."""
        return asdict(self)


def read_answer(path: Path) -> Answer:
    """The answer in a file.

    Raises:
        UserError: the file is damaged, or another version's.
    """
    values = read_json(path)
    try:
        primary = values["primary"]
        return Answer(
            **{
                **values,
                "exploratory": tuple(values["exploratory"]),
                "table": tuple(Row(**row) for row in values["table"]),
                "failed": tuple(FailedFinal(**failed) for failed in values["failed"]),
                "primary": None if primary is None else _comparison(primary),
                "secondary": tuple(_comparison(contrast) for contrast in values["secondary"]),
            }
        )
    except (KeyError, TypeError):
        raise UserError(
            f"{path}: no answer of this version; the study's own command writes it again"
        ) from None


def _comparison(values: Mapping[str, Any]) -> Comparison:
    interval = values["interval"]
    return Comparison(
        **{
            **values,
            "seeds": tuple(values["seeds"]),
            "values": tuple((first, second) for first, second in values["values"]),
            "interval": None if interval is None else Interval(**interval),
        }
    )


def make_answer(
    settings: Settings,
    arms: Iterable[Arm],
    declaration: Declaration,
    trials: Sequence[TrialRecord],
    finals: Sequence[Final],
    exploratory: Sequence[str] = (),
    objective_labels: int | None = None,
) -> Answer:
    """Compare what the finals left; reads predictions.parquet of each, one at a time.

    Args:
        settings: the study's.
        arms: the study's.
        declaration: under which the finals ran.
        trials: all of them.
        finals: all that the declaration promised.
        exploratory: other declarations under which this study's test labels had been opened before.
        objective_labels: as in ``Answer``.
    """
    metric = declaration.primary_metric.removeprefix("test/")
    contrasts, no_verdict = _contrasts(declaration, finals, metric)
    return Answer(
        study=declaration.study,
        declaration=declaration.sha,
        objective=settings.objective,
        metric=metric,
        stage=declaration.primary_stage,
        trials=len(trials),
        best_arm=declaration.best_arm_on_dev,
        exploratory=tuple(exploratory),
        table=tuple(_rows(settings, {arm.name: arm for arm in arms}, declaration, trials, finals, metric)),
        failed=tuple(
            FailedFinal(final.name, final.role, final.slot.seed_number, final.failure)
            for final in finals
            if final.failure is not None
        ),
        primary=contrasts[0] if contrasts else None,
        secondary=tuple(contrasts[1:]),
        no_verdict=no_verdict,
        objective_labels=objective_labels,
    )


def mean_test(finals: Sequence[Final], name: str) -> dict[str, float]:
    """Every test metric of an arm or control, mean over its seeds; none where one of them failed."""
    own = [final for final in finals if final.name == name]
    tests = [final.test for final in own if final.test is not None]
    if not own or len(tests) < len(own):
        return {}
    return {key: fmean(test[key] for test in tests) for key in tests[0]}


def _contrasts(
    declaration: Declaration, finals: Sequence[Final], metric: str
) -> tuple[list[Comparison], str | None]:
    """The declared contrast, then the secondary ones; none where no verdict is possible, and why."""
    declared, of_method = declaration.primary_contrast, declaration.variants
    if declared is None:
        return [], None
    failed = {final.name for final in finals if final.failure is not None}
    if failed & set(declared):
        return [], f"a final of {' and of '.join(arm for arm in declared if arm in failed)} failed"
    predictions = {
        winner.arm: [final.predictions for final in finals if final.name == winner.arm]
        for winner in declaration.winners
    }
    arms = [arm for arm in predictions if arm not in failed]
    pairs = [(arm, declared[1]) for arm in arms if arm in of_method and arm != declared[0]]
    pairs += [(declared[0], arm) for arm in arms if arm not in of_method and arm != declared[1]]
    try:
        primary = compare(predictions[declared[0]], predictions[declared[1]], metric=metric)
    except UndefinedMetricError as error:
        return [], str(error)
    secondary, undefined = [], []
    for first, second in pairs:
        try:
            secondary.append(compare(predictions[first], predictions[second], metric=metric))
        except UndefinedMetricError as error:
            undefined.append(f"{first} against {second}: {error}")
    return [primary, *correct_secondary(secondary)], "; ".join(undefined) or None


def _rows(
    settings: Settings,
    arms: Mapping[str, Arm],
    declaration: Declaration,
    trials: Sequence[TrialRecord],
    finals: Sequence[Final],
    metric: str,
) -> list[Row]:
    dev = {winner.arm: winner.dev for winner in declaration.winners}
    found = []
    for name in dict.fromkeys(final.name for final in finals):
        own = [final for final in finals if final.name == name]
        results = [final.result for final in own if final.result is not None]
        objective = [result.metrics[settings.objective_key] for result in results]
        parameters, is_arm = own[0].slot.parameters, own[0].role == "final"
        seconds = sum(trial.seconds for trial in trials if trial.arm == name) if is_arm else 0.0
        temperature = _temperature(settings, arms[name], parameters) if is_arm else None
        encoder = parameters.get("model.encoder", settings.model.encoder)
        found.append(
            Row(
                name=name,
                role=own[0].role,
                encoder=str(encoder) if is_arm or name in BEFORE_TRAINING else None,
                temperature=temperature,
                dev=dev.get(name, fmean(objective) if objective else None),
                test=mean_test(finals, name).get(metric),
                seconds=round(seconds + sum(result.seconds for result in results), 1),
            )
        )
    return found


def _temperature(settings: Settings, arm: Arm, parameters: Mapping[str, Any]) -> float | None:
    """The temperature of an arm: searched, fixed by the arm or the study; None where its loss has none or its own."""
    if arm.pretraining == "supervised":
        return None
    fixed = arm.fixed.get("temperature", settings.loss.get("temperature"))
    found = parameters.get("loss.temperature", fixed)
    return None if found is None else float(found)
