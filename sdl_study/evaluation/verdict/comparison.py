"""The verdict: is one arm better than another on the test data, or can this study not tell?

Pairs of finals share the final seed and the patients (or images). Where the arms were searched several times, the
finals of a search's winners make one pair of searches. The interval of the mean paired difference is that of
``intervals``, with the pairs for its seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdl_study.evaluation.metrics import lower_is_better, weighted_metric
from sdl_study.evaluation.predictions import FinalHeader, Predictions, read_header, read_predictions
from sdl_study.evaluation.verdict.intervals import (
    Interval,
    UndefinedMetricError,
    group_weights,
    paired_interval,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from sdl_study.evaluation.predictions import FinalIdentity

Word = Literal["better", "worse", "not distinguishable", "1 seed: no claim"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One contrast of two arms on one metric, and the word for it.

    Attributes:
        first, second: names of the arms; the word is about the first.
        metric, stage: what was compared.
        seeds: numbers of the final seeds.
        values: the metric of both arms for each seed.
        difference: first minus second, mean over seeds.
        interval: None with one seed; of a secondary contrast, at the confidence that Holm's correction asks for.
        groups: number of patients (or images).
        confidence: of the verdict.
        adjusted_p: p-value after Holm's correction over the secondary contrasts; the plain one for a primary
            contrast; None with one seed.
        word: better, worse, not distinguishable, or "1 seed: no claim".
        holm: what the correction multiplies the p-value by.
        searches: how many independent searches of each arm the finals come from; with several, these are the pairs.
    """

    first: str
    second: str
    metric: str
    stage: str
    seeds: tuple[int, ...]
    values: tuple[tuple[float, float], ...]
    difference: float
    interval: Interval | None
    groups: int
    confidence: float
    adjusted_p: float | None
    word: Word
    holm: float = 1.0
    searches: int = 1

    @property
    def pairs(self) -> int:
        """How many independent differences the interval is over."""
        return len(self.seeds) if self.searches == 1 else self.searches


def compare(
    first: Sequence[Predictions | Path],
    second: Sequence[Predictions | Path],
    *,
    metric: str = "map",
    confidence: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
    searches: int = 1,
    measure: Replicates | None = None,
) -> Comparison:
    """Compare two arms over pairs of finals.

    Finals given as paths of predictions.parquet are read one after another, so that the scores of only one
    are in memory at a time.

    Args:
        first, second: one final for each seed and arm, in any order.
        metric: a key of ``multilabel_metrics``.
        confidence: of the verdict.
        replicates: bootstrap replicates of the patients; drawn once and used for all seeds and both arms.
        seed: draws them.
        searches: how many independent searches of each arm the finals come from: equally many of each, by the
            numbers of their seeds.
        measure: of the same metric, where several contrasts share finals; then ``replicates`` and ``seed`` are its.

    Raises:
        UndefinedMetricError: the test data allow no verdict on this metric; says why.
        ValueError: finals that cannot be paired (other seeds, test inputs, labels, stage or declaration) or shared
            out to the searches, or an unknown metric.
        UserError: as ``read_predictions``.
    """
    pairs = _pair(first, second)
    if len(pairs) % searches:
        raise ValueError(
            f"{len(pairs)} pairs of finals cannot come from {searches} searches, equally many of each"
        )
    measure = measure or Replicates(metric, replicates if len(pairs) > 1 else 0, seed)
    found = np.array([[measure(final) for final in pair] for _, pair in pairs])  # [k, 2, 1 + r]
    differences = found[:, 0] - found[:, 1]
    if searches > 1:
        differences = differences.reshape(searches, len(pairs) // searches, -1).mean(axis=1)
    interval = None
    if len(pairs) > 1:
        interval = paired_interval(differences[:, 0], differences[:, 1:].T, measure.groups, confidence)
    comparison = Comparison(
        first=_header(first[0]).identity.arm,
        second=_header(second[0]).identity.arm,
        metric=metric,
        stage=_header(first[0]).identity.stage,
        seeds=tuple(number for number, _ in pairs),
        values=tuple((float(a), float(b)) for a, b in found[:, :, 0]),
        difference=float(differences[:, 0].mean()),
        interval=interval,
        groups=measure.groups,
        confidence=confidence,
        adjusted_p=None if interval is None else interval.p_value,
        word="1 seed: no claim",
        searches=searches,
    )
    return replace(comparison, word=word(comparison))


class Replicates:
    """A metric of one final after another, for its test inputs and for bootstrap replicates of them.

    A file is measured once, however many contrasts it is in: thousands of labels and documents take many seconds.

    Args:
        metric: a key of ``multilabel_metrics``.
        replicates: how many; all finals share them.
        seed: draws them.
    """

    def __init__(self, metric: str, replicates: int, seed: int) -> None:
        self._metric, self._replicates, self._seed = metric, replicates, seed
        self._reference: Predictions | None = None
        self._weights = np.empty((0, 0))
        self._measured: dict[Path, Float[np.ndarray, " values"]] = {}
        self.groups = 0

    def __call__(self, final: Predictions | Path) -> Float[np.ndarray, " values"]:
        """The metric's value, then those of the replicates.

        Raises:
            UndefinedMetricError: the value is NaN.
            ValueError: other test inputs than those of the finals before, or an unknown metric.
        """
        if not isinstance(final, Path):
            return self._measure(final)
        if final not in self._measured:
            self._measured[final] = self._measure(read_predictions(final))
        return self._measured[final]

    def _measure(self, predictions: Predictions) -> Float[np.ndarray, " values"]:
        if self._reference is None:
            self._draw(predictions)
        elif not _same_inputs(predictions, self._reference):
            raise _unlike(predictions.identity, self._reference.identity, "test inputs")
        metric = weighted_metric(self._metric, predictions.scores, predictions.targets, predictions.threshold)
        del predictions  # many metrics keep a form of their own of the scores
        values = metric(self._weights)
        if not np.isfinite(values[0]):
            raise UndefinedMetricError(
                f"{self._metric} is undefined on the test split: none of its labels or documents defines it"
            )
        return values

    def _draw(self, predictions: Predictions) -> None:
        """Keep the test inputs without the scores, and draw the replicates' weights below a row of ones."""
        nothing = np.broadcast_to(predictions.scores.dtype.type(0), predictions.scores.shape)  # no memory
        self._reference = replace(predictions, scores=nothing)
        drawn, self.groups = group_weights(predictions.groups, self._replicates, self._seed)
        self._weights = np.concatenate([np.ones((1, predictions.ids.size)), drawn])


def _header(final: Predictions | Path) -> FinalHeader:
    return read_header(final) if isinstance(final, Path) else final.header


def _pair(
    first: Sequence[Predictions | Path], second: Sequence[Predictions | Path]
) -> list[tuple[int, tuple[Predictions | Path, Predictions | Path]]]:
    """Pairs by seed, with the seed; study, stage, declaration, data and arm must agree."""
    by_seed: list[dict[int, Predictions | Path]] = []
    reference: FinalHeader | None = None
    for side in (first, second):
        headers = [_header(final) for final in side]
        by_seed.append(
            {header.identity.seed_number: final for header, final in zip(headers, side, strict=True)}
        )
        for header in headers:
            reference = reference or header
            what = _differs(header, reference) or (
                "arm" if header.identity.arm != headers[0].identity.arm else None
            )
            if what:
                raise _unlike(header.identity, reference.identity, what)
    if not by_seed[0] or by_seed[0].keys() != by_seed[1].keys():
        raise ValueError(f"finals of seeds {sorted(by_seed[0])} cannot be paired with {sorted(by_seed[1])}")
    if len(by_seed[0]) != len(first) or len(by_seed[1]) != len(second):
        raise ValueError("two finals of one arm have the same seed")
    return [(number, (by_seed[0][number], by_seed[1][number])) for number in sorted(by_seed[0])]


def _differs(header: FinalHeader, reference: FinalHeader) -> str | None:
    """What keeps two finals from being compared."""
    for name in ("stage", "study"):
        if getattr(header.identity, name) != getattr(reference.identity, name):
            return name
    if header.declaration != reference.declaration:
        return "declaration"
    return "data" if header.fingerprint != reference.fingerprint else None


def _same_inputs(final: Predictions, reference: Predictions) -> bool:
    return (
        np.array_equal(final.ids, reference.ids)
        and np.array_equal(final.groups, reference.groups)
        and np.array_equal(final.targets.rows, reference.targets.rows)
        and np.array_equal(final.targets.columns, reference.targets.columns)
    )


def _unlike(final: FinalIdentity, reference: FinalIdentity, what: str) -> ValueError:
    return ValueError(
        f"finals {reference.arm}/{reference.seed_number} and {final.arm}/{final.seed_number} differ in {what}; "
        "they cannot be compared"
    )


def word(comparison: Comparison) -> Word:
    """The verdict that a comparison's adjusted p-value, confidence and direction amount to."""
    if comparison.adjusted_p is None:
        return "1 seed: no claim"
    if comparison.adjusted_p >= 1 - comparison.confidence:
        return "not distinguishable"
    gained = comparison.difference > 0
    return "better" if gained != lower_is_better(comparison.metric) else "worse"
