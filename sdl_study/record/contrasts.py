"""The contrasts of an answer: the declared one, and the secondary ones beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from sdl_study.arms import AGAIN, Arm
from sdl_study.evaluation.verdict import (
    Comparison,
    Replicates,
    UndefinedMetricError,
    compare,
    correct_secondary,
)
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import Final, of_stage
from sdl_study.space import SearchSpace

_REPLICATES = 1000


def measure_of(declaration: Declaration, metric: str) -> Replicates:
    """How finals are measured for all contrasts of an answer: each once."""
    several = declaration.final_seeds * declaration.searches > 1
    return Replicates(metric, _REPLICATES if several else 0, seed=0)


def contrasts(
    declaration: Declaration, finals: Sequence[Final], metric: str, measure: Replicates
) -> tuple[list[Comparison], str | None]:
    """The declared contrast, then the secondary ones; none where no verdict is possible, and why.

    Of another stage than the declared one the same pair is secondary.

    Args:
        declaration: under which the finals ran.
        finals: all of them; predictions.parquet of each is read, one at a time.
        metric: what is compared.
        measure: of this metric.
    """
    declared, of_method = declaration.primary_contrast, declaration.variants
    if declared is None:
        return [], _why_none(declaration)
    searches = declaration.searches
    of_stages = {stage: of_stage(finals, stage) for stage in declaration.stages}
    finals = of_stages.pop(declaration.primary_stage)
    failed = _failed(finals)
    if failed & set(declared):
        return [], f"a final of {' and of '.join(arm for arm in declared if arm in failed)} failed"
    predictions = _predictions(declaration, finals)
    arms = [arm for arm in predictions if arm not in failed]
    pairs = [(arm, declared[1]) for arm in arms if arm in of_method and arm != declared[0]]
    pairs += [(declared[0], arm) for arm in arms if arm not in of_method and arm != declared[1]]
    try:
        primary = compare(
            predictions[declared[0]],
            predictions[declared[1]],
            metric=metric,
            searches=searches,
            measure=measure,
        )
    except UndefinedMetricError as error:
        return [], str(error)
    secondary, undefined = _compared(pairs, predictions, metric, searches, measure)
    reasons = [undefined]
    for stage, others in of_stages.items():
        found, undefined = _compared(
            [] if _failed(others) & set(declared) else [declared],
            _predictions(declaration, others),
            metric,
            searches,
            measure,
        )
        secondary += found
        reasons.append(undefined and f"{stage}: {undefined}")
    return [primary, *correct_secondary(secondary)], "; ".join(filter(None, reasons)) or None


def _why_none(declaration: Declaration) -> str | None:
    """Why a study with a method has nothing that it is compared with, although there are other arms."""
    others = {winner.arm for winner in declaration.winners} - set(declaration.variants)
    return "no arm to compare with could learn" if declaration.method is not None and others else None


def _compared(
    pairs: Iterable[tuple[str, str]],
    predictions: Mapping[str, list[Path]],
    metric: str,
    searches: int,
    measure: Replicates,
) -> tuple[list[Comparison], str | None]:
    """Contrasts of pairs of arms, and why there is none of some of them."""
    found, undefined = [], []
    for first, second in pairs:
        try:
            found.append(
                compare(
                    predictions[first], predictions[second], metric=metric, searches=searches, measure=measure
                )
            )
        except UndefinedMetricError as error:
            undefined.append(f"{first} against {second}: {error}")
    return found, "; ".join(undefined) or None


def twins(
    declaration: Declaration,
    finals: Sequence[Final],
    metric: str,
    measure: Replicates,
    arms: Iterable[Arm],
    space: SearchSpace,
) -> tuple[list[Comparison], str | None]:
    """Contrasts of arms that are one under two names, and why there is none of some of them.

    What such arms differ by is the luck of search and seeds.

    Args:
        declaration: under which the finals ran.
        finals: all of them.
        metric: what is compared.
        measure: of this metric.
        arms, space: the study's; arms are the same with the same loss, training, fixed and searched settings.
    """
    kinds = {
        arm.name: (arm.loss, arm.joint, arm.pretraining, arm.fixed, [p.name for p in space.of_arm(arm.name)])
        for arm in arms
    }
    finals = of_stage(finals, declaration.primary_stage)
    failed = _failed(finals)
    pairs = [pair for pair in combinations(kinds, 2) if kinds[pair[0]] == kinds[pair[1]]]
    pairs = [pair for pair in pairs if not failed & set(pair)]
    return _compared(pairs, _predictions(declaration, finals), metric, declaration.searches, measure)


def again(
    declaration: Declaration, finals: Sequence[Final], metric: str, measure: Replicates
) -> tuple[Comparison | None, str | None]:
    """The contrast of an arm with itself on other seeds, where one was declared, and why there is none of it.

    It has to come out as no difference: what the interval of the primary contrast would call a difference here is none.

    Args:
        declaration: under which the finals ran.
        finals: all of them.
        metric: what is compared.
        measure: of this metric.
    """
    own = of_stage(finals, declaration.primary_stage)
    if declaration.aa is None or _failed(own) & {declaration.aa, AGAIN}:
        return None, None
    predictions = {name: [f.predictions for f in own if f.name == name] for name in (declaration.aa, AGAIN)}
    found, undefined = _compared(
        [(declaration.aa, AGAIN)], predictions, metric, declaration.searches, measure
    )
    return (found[0] if found else None), undefined


def _failed(finals: Sequence[Final]) -> set[str]:
    return {final.name for final in finals if final.failure is not None}


def _predictions(declaration: Declaration, finals: Sequence[Final]) -> Mapping[str, list[Path]]:
    """Predictions of every arm's finals."""
    return {
        winner.arm: [final.predictions for final in finals if final.name == winner.arm]
        for winner in declaration.winners
    }
