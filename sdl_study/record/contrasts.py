"""The contrasts of an answer: the declared one, and the secondary ones beside it."""

from __future__ import annotations

from collections.abc import Sequence

from sdl_study.evaluation.verdict import Comparison, UndefinedMetricError, compare, correct_secondary
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import Final


def contrasts(
    declaration: Declaration, finals: Sequence[Final], metric: str
) -> tuple[list[Comparison], str | None]:
    """The declared contrast, then the secondary ones; none where no verdict is possible, and why.

    Args:
        declaration: under which the finals ran.
        finals: all of them; predictions.parquet of each is read, one at a time.
        metric: what is compared.
    """
    declared, of_method = declaration.primary_contrast, declaration.variants
    if declared is None:
        return [], _why_none(declaration)
    searches = declaration.searches
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
        primary = compare(
            predictions[declared[0]], predictions[declared[1]], metric=metric, searches=searches
        )
    except UndefinedMetricError as error:
        return [], str(error)
    secondary, undefined = [], []
    for first, second in pairs:
        try:
            pair = predictions[first], predictions[second]
            secondary.append(compare(*pair, metric=metric, searches=searches))
        except UndefinedMetricError as error:
            undefined.append(f"{first} against {second}: {error}")
    return [primary, *correct_secondary(secondary)], "; ".join(undefined) or None


def _why_none(declaration: Declaration) -> str | None:
    """Why a study with a method has nothing that it is compared with, although there are other arms."""
    others = {winner.arm for winner in declaration.winners} - set(declaration.variants)
    return "no arm to compare with could learn" if declaration.method is not None and others else None
