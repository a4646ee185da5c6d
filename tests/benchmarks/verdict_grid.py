"""What a verdict is worth: wrong words, coverage and power over numbers of seeds, what varies, and kinds of metric.

    python -m tests.benchmarks.verdict_grid [--studies 2000]

Simulates studies of two arms. In each cell: the share of null studies in which a difference is seen (nominal 5%), the
share of intervals that hold the true difference (nominal 95%), and the share of studies that see a true difference as
large as what studies of the cell print as detectable (nominal 80%). Means are over 300 patients; macro-F1 is over 40
labels whose frequencies fall like those of codes, a third of them with a handful of positives. A cell that misses its
bounds (6.5%; 93 to 98%; 75 to 85%) is marked.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sdl_study.evaluation.metrics import weighted_metric
from sdl_study.evaluation.targets import as_targets
from sdl_study.evaluation.verdict import Interval, UndefinedMetricError, group_weights, paired_interval
from tests.benchmarks.verdict import MIXTURES, PATIENTS, null_study

REPLICATES = 200
SEEDS = (3, 5, 10)
MEANS = {
    "seeds alone": "seeds almost alone",
    "seeds above": "seeds above patients",
    "patients above": "patients above seeds",
}
TAIL_LABELS = 40
SEED_SD = {"seeds above": 0.15, "about equal": 0.08, "patients above": 0.02}
Draw = Callable[[float, np.random.Generator], Interval]
"""An interval of one simulated study with a true effect."""


@dataclass(frozen=True)
class Cell:
    """Shares of the studies of a cell."""

    wrong: float
    coverage: float
    power: float

    @property
    def misses(self) -> str:
        """Which bounds it misses, in words."""
        checks = {
            "wrong": self.wrong <= 0.065,
            "coverage": 0.93 <= self.coverage <= 0.98,
            "power": 0.75 <= self.power <= 0.85,
        }
        return ", ".join(name for name, holds in checks.items() if not holds)


def mean_interval(
    seeds: int, mixture: tuple[float, float, float], effect: float, generator: np.random.Generator
) -> Interval:
    """Of a mean over patients."""
    differences, resampled, _ = null_study(seeds, mixture, REPLICATES, generator)
    return paired_interval(differences + effect, resampled + effect, PATIENTS)


def tail_interval(seeds: int, seed_sd: float, effect: float, generator: np.random.Generator) -> Interval:
    """Of macro-F1 over labels with a long tail; the effect is one of the first arm's signal."""
    frequency = np.minimum(0.4, 1.2 / np.arange(1, TAIL_LABELS + 1) ** 1.1)
    truth = generator.random((PATIENTS, TAIL_LABELS)) < frequency
    targets, shared = as_targets(truth, truth.shape), generator.normal(size=truth.shape) - 2.0
    drawn, groups = group_weights(np.arange(PATIENTS), REPLICATES, 0)
    weights = np.concatenate([np.ones((1, PATIENTS)), drawn])
    found = []
    for gain in (effect, 0.0):
        own = shared + 0.5 * generator.normal(size=truth.shape)
        for _ in range(seeds):
            signal = 2.0 + gain + seed_sd * generator.normal()
            logits = own + signal * truth + 0.5 * generator.normal(size=truth.shape)
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            found.append(weighted_metric("macro_f1", scores, targets, 0.4)(weights))
    values = np.array(found).reshape(2, seeds, -1)
    differences = values[0] - values[1]
    return paired_interval(differences[:, 0], differences[:, 1:].T, groups)


def cell(draw: Draw, studies: int, seed: int) -> Cell:
    """Simulate null studies, then as many with the difference that the null studies call detectable.

    Args:
        draw: simulates a study.
        studies: of each kind.
        seed: of the cell.
    """
    null = _drawn(draw, 0.0, studies, [0, seed])
    detectable = float(np.mean([found.detectable for found in null]))
    real = _drawn(draw, effect_of(draw, detectable, max(50, studies // 5)), studies, [1, seed])
    truth = float(np.mean([found.difference for found in real]))
    inside = [found.low <= 0 <= found.high for found in null]
    inside += [found.low <= truth <= found.high for found in real]
    wrong = 1 - float(np.mean(inside[: len(null)]))
    return Cell(wrong, float(np.mean(inside)), float(np.mean([found.low > 0 for found in real])))


def effect_of(draw: Draw, difference: float, studies: int) -> float:
    """The effect that makes a difference of the metric, from studies that differ in nothing else."""
    none = np.mean([found.difference for found in _drawn(draw, 0.0, studies, [2])])
    effect = 0.1
    for _ in range(3):
        made = np.mean([found.difference for found in _drawn(draw, effect, studies, [2])]) - none
        effect *= difference / float(made)
    return effect


def _drawn(draw: Draw, effect: float, studies: int, seed: Sequence[int]) -> list[Interval]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(studies):
        try:
            found.append(draw(effect, generator))
        except UndefinedMetricError:  # a study that makes no claim is none that is wrong
            continue
    return found


def cells(studies: int) -> Iterator[tuple[str, str, int, Cell]]:
    """All cells: kind of metric, what varies, seeds."""
    for seeds in SEEDS:
        for name, mixture in MEANS.items():
            draw: Draw = partial(mean_interval, seeds, MIXTURES[mixture])
            yield "mean", name, seeds, cell(draw, studies, seeds)
        for name, seed_sd in SEED_SD.items():
            yield "macro-F1", name, seeds, cell(partial(tail_interval, seeds, seed_sd), studies, seeds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--studies", type=int, default=2000, help="null studies of a cell, and as many with an effect"
    )
    given = parser.parse_args()
    print(f"{'metric':10}{'what varies':16}{'seeds':>6}{'wrong':>8}{'coverage':>10}{'power':>8}")
    for metric, name, seeds, one in cells(given.studies):
        line = f"{metric:10}{name:16}{seeds:>6}{one.wrong:>8.1%}{one.coverage:>10.1%}{one.power:>8.1%}"
        print(f"{line}  {one.misses}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
