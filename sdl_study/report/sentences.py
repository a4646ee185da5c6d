"""What a study found, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import floor, log10

from sdl_study.evaluation.metrics import find as find_metric
from sdl_study.evaluation.verdict import Comparison
from sdl_study.record.answer import Answer, FailedFinal, OtherTable
from sdl_study.record.rows import Row
from sdl_study.report.names import edge_name
from sdl_study.stages import PROBE

_SEEDS_ABOVE = 20


def contrast_name(comparison: Comparison) -> str:
    """What is compared: with one search of each arm the settings that it chose, with several the arms themselves."""
    first, second = comparison.first, comparison.second
    if comparison.searches == 1:
        first, second = f"the setting chosen for {first}", f"the setting chosen for {second}"
    return f"{first} against {second}, {comparison.metric} ({comparison.stage})"


def verdict_sentence(
    comparison: Comparison, rising: Collection[str] = (), unable: Collection[str] = ()
) -> str:
    """A contrast and its verdict in one line.

    Args:
        comparison: the contrast.
        rising: arms that were still rising where their training ended.
        unable: arms that could not learn.
    """
    own = (comparison.first, comparison.second)
    not_able = [arm for arm in own if arm in unable]
    still = [arm for arm in own if arm in rising and arm not in unable]
    found = _verdict(comparison)
    if not_able:
        found += f"; {_listed(not_able)} could not learn"
    if still:
        was = "was" if len(still) == 1 else "were"
        found += f"; {_listed(still)} {was} still rising: longer training may change this"
    return found


def _verdict(comparison: Comparison) -> str:
    interval = comparison.interval
    # Where the interval is narrow, four decimals would print a difference that was found as 0.
    error = interval.standard_error if interval is not None else 0.0
    digits = max(4, 1 - floor(log10(error))) if error > 0 else 4
    head = f"{contrast_name(comparison)}: {comparison.difference:+.{digits}f}"
    if interval is None:
        return f"{head}; {comparison.word}"
    level = f" ({interval.confidence:.1%} after Holm)" if comparison.holm > 1 else ""
    ends = f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]{level}"
    pair, pairs = ("seed", "seeds") if comparison.searches == 1 else ("search", "searches")
    found = f"{head} {ends}, {comparison.pairs} {pairs}, {comparison.groups} groups: {comparison.word}"
    if comparison.word != "not distinguishable":
        return found
    if error == 0:
        return f"{found} (no {pair} and no group shows a difference)"
    return f"{found} (this study could have found a difference of {interval.detectable:.{digits}f})"


def not_covered_sentence(answer: Answer) -> str | None:
    """That simulated verdicts of this kind miss their nominal rates, and by how much; None where they do not.

    Of a mean over labels of thresholded decisions, where the variance between pairs is ``_SEEDS_ABOVE`` times that of
    the test inputs or more: in the cells that ``tests/benchmarks/verdict_grid.py`` marks (500 studies each) it is 34
    times on the mean, in those beside them, which are within their bounds, 11 times.
    """
    if answer.exploratory or not find_metric(answer.metric).averages_decisions:
        return None
    contrasts = [answer.primary, answer.aa, *answer.secondary, *answer.twins]
    if not any(contrast is not None and _varies_by_seed(contrast) for contrast in contrasts):
        return None
    return (
        f"not covered by what was simulated: for {answer.metric} over many rare labels, where seeds vary far more than "
        "test inputs as they do here, simulated verdicts were wrong in up to 6.6% of studies instead of 5%, and found "
        "a difference of the size that a study says it could have found in up to 89% instead of 80%; take a "
        "p-value just below 0.05 for no finding"
    )


def _varies_by_seed(contrast: Comparison) -> bool:
    found = contrast.interval
    if found is None:
        return False
    return contrast.pairs * found.seed_variance >= _SEEDS_ABOVE * found.patient_variance


def aa_sentence(comparison: Comparison) -> str:
    """What an arm differs by from itself on other seeds, and what that says of the verdict."""
    interval = comparison.interval
    seeds = f"{len(comparison.seeds)} seed" + ("" if len(comparison.seeds) == 1 else "s")
    head = (
        f"A/A: the setting chosen for {comparison.first}, trained once more on other seeds, {comparison.metric} "
        f"({comparison.stage}): {comparison.difference:+.4f}"
    )
    if interval is None:
        return f"{head}; {comparison.word}"
    found = f"{head} [{interval.low:+.4f}, {interval.high:+.4f}], {seeds}, {comparison.groups} groups"
    if comparison.word == "not distinguishable":
        return f"{found}: no difference, as it must be (of seeds and test inputs; the luck of the search is not in it)"
    return (
        f"{found}: {comparison.word} than itself, although nothing differs but the seeds; by chance this happens in "
        f"{1 - comparison.confidence:.0%} of studies, otherwise the intervals are too narrow: do not rely on a "
        "difference of this size"
    )


def controls_sentence(answer: Answer) -> str | None:
    """Whether the best arm beats every control, and by how much; None where there is nothing to compare."""
    best = answer.best
    if best.test is None or not best.margins:
        return None
    head = f"{answer.study}: {best.name}, the best arm on dev, has test {answer.metric} {best.test:.4f}"
    below = {name: margin for name, margin in best.margins.items() if margin <= 0}
    above = {name: margin for name, margin in best.margins.items() if margin > 0}
    if not below:
        return f"{head} and lies above every control: {_distances(above)}"
    rest = f"; above: {_distances(above)}" if above else ""
    return f"{head} and lies BELOW {_distances(below)}{rest}"


def _distances(margins: dict[str, float]) -> str:
    ordered = sorted(margins.items(), key=lambda item: item[1])
    return ", ".join(f"{name} by {abs(margin):.4f}" for name, margin in ordered)


def failed_sentence(failed: FailedFinal) -> str:
    """A final or control that failed by its own setting, and why."""
    stage = "" if failed.stage == PROBE else f" ({failed.stage})"
    return f"{failed.role} of {failed.name}{stage}, seed {failed.seed_number}, failed: {failed.where}"


def other_sentence(answer: Answer, other: OtherTable) -> str:
    """The table after another stage than the verdict's, in a sentence."""
    found = [
        f"{row.name} {'no value' if row.test is None else f'{row.test:.4f}'}"
        + ("" if row.spread is None else f" ± {row.spread:.4f}")
        for row in other.table
    ]
    return f"After {other.stage}, a table of its own: test {answer.metric} {', '.join(found)}"


def convergence_sentence(row: Row) -> str | None:
    """Whether an arm was still rising where its training ended, with the numbers; None where nothing tells."""
    found = row.convergence
    if found is None:
        return None
    over = "over seeds" if found.over == "seeds" else "by the noise of its epochs"
    numbers = (
        f"{found.rise:+.4f} over the last quarter of {found.epochs} epochs, {found.last_half:+.4f} over the last half, "
        f"{found.gained:+.4f} in all; error {over} {found.error:.4f}"
    )
    if found.rising:
        return f"{row.name} was still rising at its end: dev {numbers}; train it longer"
    return f"{row.name} had converged: dev {numbers}"


def edge_sentence(row: Row) -> str | None:
    """Which of an arm's parameters stand at an end of their range; None where none does."""
    if not row.edges:
        return None
    ends = _listed([edge_name(edge) for edge in row.edges])
    return f"{row.name} was best at the edge of its range, {ends}: a wider range may hold a better setting"


def learning_sentence(row: Row) -> str | None:
    """That an arm could not learn; None where it could."""
    if row.could_learn or row.valid_anchors is None:
        return None
    return (
        f"{row.name} could not learn: {row.valid_anchors:.1%} of its examples had anything to be contrasted with; "
        "nothing is compared with it"
    )


def findings(answer: Answer) -> list[str]:
    """A sentence for everything that should be known of an arm before its number is believed."""
    found: Iterable[str | None] = (
        sentence(row)
        for sentence in (learning_sentence, convergence_sentence, edge_sentence)
        for row in answer.table
        if row.role == "final"
    )
    return [sentence for sentence in found if sentence is not None]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
