"""The verdict: is one arm better than another on the test data, or can this study not tell?

Pairs of finals share the final seed and the patients (or images). The difference is the mean over seeds of
the paired differences d_k of the metric; its variance has two parts:

- seeds: s²/K, with s² the unbiased variance of the d_k; it also holds what differs by
  chance from seed to seed within each patient;
- patients: the variance of the mean difference over bootstrap replicates of the patients, less what the
  first part has counted already, i.e. less 1/K of the variance over replicates of the d_k around their mean.

The interval is difference ± t·sqrt(sum). t is the average of Student's quantiles for K - 1 and (groups - 1)
degrees of freedom, weighted by the two parts (Cochran & Cox, "Experimental Designs", 1950). On simulated null
studies of 300 patients at nominal 5% it is wrong in 2 to 6%, from 2 seeds on. Satterthwaite's degrees of
freedom (1946) are wrong in up to 12 / 8 / 6% at 2 / 3 / 5 seeds, where the variance between seeds comes out
small by chance, and a percentile bootstrap over seeds and patients in up to 40 / 27 / 16%.
``tests/benchmarks/verdict.py`` prints the rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sdl_study.evaluation.metrics import LOWER_IS_BETTER
from sdl_study.evaluation.predictions import Predictions
from sdl_study.evaluation.weighted import weighted_metric

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from sdl_study.evaluation.weighted import WeightedMetric

Word = Literal["better", "worse", "not distinguishable", "1 seed: no claim"]
Method = Literal["cochran-cox", "satterthwaite"]
_POWER = 0.8


class UndefinedMetricError(ValueError):
    """The test data are too few for the metric: no verdict can be computed."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with its uncertainty.

    Attributes:
        difference: first minus second, mean over seeds.
        standard_error: of the difference.
        degrees_of_freedom: by Satterthwaite (what the uncertainty amounts to, whatever the method).
        low, high: ends of the interval.
        p_value: two-sided, against no difference.
        seed_variance, patient_variance: the two parts of the squared standard error.
        detectable: smallest true difference that such a study finds with 80% power.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    p_value: float
    seed_variance: float
    patient_variance: float
    detectable: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One contrast of two arms on one metric, and the word for it.

    Attributes:
        first, second: names of the arms; the word is about the first.
        metric, stage: what was compared.
        seeds: numbers of the final seeds.
        values: the metric of both arms for each seed.
        difference: first minus second, mean over seeds.
        interval: None with one seed.
        groups: number of patients (or images).
        confidence: of the interval.
        adjusted_p: p-value after Holm's correction over the secondary contrasts; the plain one for a primary
            contrast; None with one seed.
        word: better, worse, not distinguishable, or "1 seed: no claim".
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

    def sentence(self) -> str:
        """The verdict in one line."""
        head = f"{self.first} against {self.second}, {self.metric} ({self.stage}): {self.difference:+.4f}"
        if self.interval is None:
            return f"{head}; {self.word}"
        found = f"{head} [{self.interval.low:+.4f}, {self.interval.high:+.4f}], {len(self.seeds)} seeds, "
        if self.word != "not distinguishable":
            return f"{found}{self.groups} groups: {self.word}"
        return (
            f"{found}{self.groups} groups: not distinguishable"
            f" (this study could have found a difference of {self.interval.detectable:.4f})"
        )


def group_weights(
    groups: Int[np.ndarray, " n"], replicates: int, seed: int
) -> tuple[Float[np.ndarray, "r n"], int]:
    """Bootstrap weights of documents whose groups are drawn with replacement, and the number of groups."""
    names, member = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(names.size, np.full(names.size, 1.0 / names.size), size=replicates)
    return drawn[:, member].astype(np.float64), names.size


def paired_interval(
    differences: Float[np.ndarray, " k"],
    replicates: Float[np.ndarray, "r k"],
    groups: int,
    confidence: float = 0.95,
    method: Method = "cochran-cox",
) -> Interval:
    """The interval of a mean of paired differences.

    Args:
        differences: the metric's difference of each seed.
        replicates: the same for every bootstrap replicate of the groups, which all seeds share.
        groups: number of groups (patients or images).
        confidence: for example 0.95.
        method: how the quantile of t is found.

    Raises:
        ValueError: fewer than two seeds or replicates, fewer than two groups, or values that are not finite.
    """
    seeds = differences.size
    if (
        seeds < 2
        or replicates.ndim != 2
        or replicates.shape[0] < 2
        or replicates.shape[1] != seeds
        or groups < 2
    ):
        raise ValueError(
            f"an interval needs two seeds, two groups and replicates of the same seeds; got {seeds} seeds, "
            f"{groups} groups, replicates {replicates.shape}"
        )
    if not (np.isfinite(differences).all() and np.isfinite(replicates).all()):
        raise UndefinedMetricError(
            "the metric is undefined (NaN) for a final or for a resampled set of patients"
        )
    centre = float(differences.mean())
    seed_part = float(differences.var(ddof=1)) / seeds
    around = replicates - replicates.mean(axis=1, keepdims=True)
    shared = float(around.var(axis=0, ddof=1).sum()) / (seeds - 1) / seeds
    patient_part = max(0.0, float(replicates.mean(axis=1).var(ddof=1)) - shared)
    variance = seed_part + patient_part
    if variance == 0.0:  # the arms predict the same, document by document
        return Interval(centre, 0.0, float(seeds - 1), centre, centre, float(centre == 0.0), 0.0, 0.0, 0.0)
    freedom = variance**2 / (seed_part**2 / (seeds - 1) + patient_part**2 / (groups - 1))
    parts = ((seed_part, seeds - 1), (patient_part, groups - 1))
    law = parts if method == "cochran-cox" else ((1.0, freedom),)
    error = float(np.sqrt(variance))
    quantile = _quantile(law, (1 - confidence) / 2)
    return Interval(
        difference=centre,
        standard_error=error,
        degrees_of_freedom=freedom,
        low=centre - quantile * error,
        high=centre + quantile * error,
        p_value=_two_sided(law, abs(centre) / error),
        seed_variance=seed_part,
        patient_variance=patient_part,
        detectable=(quantile + _quantile(law, 1 - _POWER)) * error,
    )


def _quantile(law: Sequence[tuple[float, float]], tail: float) -> float:
    """Upper quantile: Student's for each number of degrees of freedom, averaged by weight."""
    from scipy.stats import t as student

    total = sum(weight for weight, _ in law)
    return sum(weight / total * float(student.isf(tail, freedom)) for weight, freedom in law if weight > 0)


def _two_sided(law: Sequence[tuple[float, float]], statistic: float) -> float:
    """The p-value at which the interval would just touch zero."""
    from scipy.optimize import brentq

    smallest = 1e-30
    if statistic == 0.0 or _quantile(law, smallest) <= statistic:
        return 1.0 if statistic == 0.0 else 2 * smallest
    root: Any = brentq(lambda x: _quantile(law, float(np.exp(x))) - statistic, np.log(smallest), np.log(0.5))
    return min(1.0, 2 * float(np.exp(root)))


def compare(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    *,
    metric: str = "map",
    confidence: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two arms over pairs of finals.

    Args:
        first, second: one final for each seed and arm, in any order.
        metric: a key of ``multilabel_metrics``.
        confidence: of the interval.
        replicates: bootstrap replicates of the patients; drawn once and used for all seeds and both arms.
        seed: draws them.

    Raises:
        ValueError: finals that cannot be paired (other seeds, test inputs, labels, stage or declaration), an
            unknown metric, or a metric that is undefined here.
    """
    pairs = _pair(first, second)
    left, right = pairs[0]
    ones = np.ones((1, left.ids.size))
    metrics = [[_metric(side, metric) for side in pair] for pair in pairs]
    values = [tuple(float(of(ones)[0]) for of in pair) for pair in metrics]
    differences = np.array([a - b for a, b in values])
    interval, count = None, int(np.unique(left.groups).size)
    if len(pairs) > 1:
        weights, count = group_weights(left.groups, replicates, seed)
        resampled = np.stack([a(weights) - b(weights) for a, b in metrics], axis=1)
        interval = paired_interval(differences, resampled, count, confidence)
    comparison = Comparison(
        first=left.identity.arm,
        second=right.identity.arm,
        metric=metric,
        stage=left.identity.stage,
        seeds=tuple(pair[0].identity.seed for pair in pairs),
        values=tuple((a, b) for a, b in values),
        difference=float(differences.mean()),
        interval=interval,
        groups=count,
        confidence=confidence,
        adjusted_p=None if interval is None else interval.p_value,
        word="1 seed: no claim",
    )
    return replace(comparison, word=_word(comparison))


def _metric(predictions: Predictions, name: str) -> WeightedMetric:
    return weighted_metric(name, predictions.scores, predictions.targets, predictions.threshold)


def _pair(
    first: Sequence[Predictions], second: Sequence[Predictions]
) -> list[tuple[Predictions, Predictions]]:
    """Pairs by seed; everything else must agree."""
    by_seed = [{final.identity.seed: final for final in side} for side in (first, second)]
    if not by_seed[0] or by_seed[0].keys() != by_seed[1].keys():
        raise ValueError(f"finals of seeds {sorted(by_seed[0])} cannot be paired with {sorted(by_seed[1])}")
    if len(by_seed[0]) != len(first) or len(by_seed[1]) != len(second):
        raise ValueError("two finals of one arm have the same seed")
    reference = first[0]
    for side in (first, second):
        for final in side:
            what = _differs(final, reference) or (
                "arm" if final.identity.arm != side[0].identity.arm else None
            )
            if what:
                raise ValueError(
                    f"finals {reference.identity.arm}/{reference.identity.seed} and "
                    f"{final.identity.arm}/{final.identity.seed} differ in {what}; they cannot be compared"
                )
    return [(by_seed[0][number], by_seed[1][number]) for number in sorted(by_seed[0])]


def _differs(final: Predictions, reference: Predictions) -> str | None:
    """What keeps two finals from being compared."""
    for name in ("stage", "study"):
        if getattr(final.identity, name) != getattr(reference.identity, name):
            return name
    if final.declaration != reference.declaration:
        return "declaration"
    if final.fingerprint != reference.fingerprint:
        return "data"
    same = np.array_equal(final.ids, reference.ids) and np.array_equal(final.groups, reference.groups)
    same = same and np.array_equal(final.targets.rows, reference.targets.rows)
    return (
        None if same and np.array_equal(final.targets.columns, reference.targets.columns) else "test inputs"
    )


def _word(comparison: Comparison) -> Word:
    if comparison.adjusted_p is None:
        return "1 seed: no claim"
    if comparison.adjusted_p >= 1 - comparison.confidence:
        return "not distinguishable"
    gained = comparison.difference > 0
    return "better" if gained != (comparison.metric in LOWER_IS_BETTER) else "worse"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: reject where they are below the level, and the family's error is
    held."""
    count = len(p_values)
    adjusted = [0.0] * count
    largest = 0.0
    for place, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def correct_secondary(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The secondary contrasts with Holm's correction over all of them; their words follow from it.

    The intervals stay those of each contrast alone.
    """
    known = [c.interval.p_value for c in comparisons if c.interval is not None]
    adjusted = iter(holm(known))
    corrected = [c if c.interval is None else replace(c, adjusted_p=next(adjusted)) for c in comparisons]
    return [replace(c, word=_word(c)) for c in corrected]
