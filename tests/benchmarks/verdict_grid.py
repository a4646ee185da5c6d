"""What a verdict is worth: wrong words, coverage and power over numbers of seeds, what varies, and kinds of metric.

    python -m tests.benchmarks.verdict_grid [--studies 2000] [--aa]

Simulates studies of two arms. In each cell: the share of null studies in which a difference is seen (nominal 5%), the
share of intervals that hold the true difference (nominal 95%), and the share of studies that see a true difference as
large as what studies of the cell print as detectable (nominal 80%). Means are over 300 patients; macro-F1 is over 40
labels whose frequencies fall like those of codes, a third of them with a handful of positives. A cell that misses its
bounds (6.5%; 93 to 98%; 75 to 85%) is marked. The last column is the variance between seeds over that between
patients, as the intervals have them.

With ``--aa`` arms against themselves alone, in macro-F1, and the share of false alarms: one setting trained twice on
other seeds, as the A/A arm is; and one method searched twice, where searches vary by as much as seeds at their most.
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
_PARTS = ("seed_variance", "patient_variance")
SEED_SD = {"seeds above": 0.15, "about equal": 0.08, "patients above": 0.02}
Draw = Callable[[float, np.random.Generator], Interval]
"""An interval of one simulated study with a true effect."""


@dataclass(frozen=True)
class Cell:
    """Shares of the studies of a cell."""

    wrong: float
    coverage: float
    power: float
    ratio: float

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


def tail_interval(
    seeds: int,
    seed_sd: float,
    effect: float,
    generator: np.random.Generator,
    *,
    setting_sd: float = 0.5,
    luck_sd: float = 0.0,
    searches: int = 1,
) -> Interval:
    """Of macro-F1 over labels with a long tail.

    Args:
        seeds: pairs of finals.
        seed_sd: of a final's signal.
        effect: on the first arm's signal.
        generator: draws the study.
        setting_sd: by how much arms differ in every score, which all their finals share; 0: they are one setting.
        luck_sd: of the signal of what a search found.
        searches: of each arm, which share the seeds out; with several they are the pairs.
    """
    frequency = np.minimum(0.4, 1.2 / np.arange(1, TAIL_LABELS + 1) ** 1.1)
    truth = generator.random((PATIENTS, TAIL_LABELS)) < frequency
    targets, shared = as_targets(truth, truth.shape), generator.normal(size=truth.shape) - 2.0
    drawn, groups = group_weights(np.arange(PATIENTS), REPLICATES, 0)
    weights = np.concatenate([np.ones((1, PATIENTS)), drawn])
    found = []
    for gain in (effect, 0.0):
        own = shared + setting_sd * generator.normal(size=truth.shape)
        luck = np.zeros(seeds)
        if luck_sd:
            luck = luck_sd * generator.normal(size=searches).repeat(seeds // searches)
        for number in range(seeds):
            signal = 2.0 + gain + luck[number] + seed_sd * generator.normal()
            logits = own + signal * truth + 0.5 * generator.normal(size=truth.shape)
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            found.append(weighted_metric("macro_f1", scores, targets, 0.4)(weights))
    values = np.array(found).reshape(2, seeds, -1)
    differences = values[0] - values[1]
    if searches > 1:
        differences = differences.reshape(searches, seeds // searches, -1).mean(axis=1)
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
    seen = float(np.mean([found.low > 0 for found in real]))
    between = [float(np.mean([getattr(found, part) for found in null])) for part in _PARTS]
    return Cell(wrong, float(np.mean(inside)), seen, between[0] / max(between[1], 1e-12))


def alarms(draw: Draw, studies: int) -> float:
    """The share of studies without a difference in which one is seen."""
    null = _drawn(draw, 0.0, studies, [3])
    return float(np.mean([not found.low <= 0 <= found.high for found in null]))


def against_itself(studies: int) -> Iterator[tuple[str, str, int, float]]:
    """What is trained twice, what varies, seeds, and the share of false alarms."""
    for seeds in SEEDS:
        for name, seed_sd in SEED_SD.items():
            yield (
                "setting",
                name,
                seeds,
                alarms(partial(tail_interval, seeds, seed_sd, setting_sd=0.0), studies),
            )
    luck = SEED_SD["seeds above"]
    for searches in (1, 5):
        draw = partial(tail_interval, 5, SEED_SD["about equal"], luck_sd=luck, searches=searches)
        yield f"method, {searches} search" + "es" * (searches > 1), "luck above", 5, alarms(draw, studies)


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
    parser.add_argument("--aa", action="store_true", help="arms against themselves alone")
    given = parser.parse_args()
    if given.aa:
        print(f"{'twice the same':20}{'what varies':16}{'seeds':>6}{'false alarms':>14}")
        for what, name, seeds, share in against_itself(given.studies):
            print(f"{what:20}{name:16}{seeds:>6}{share:>14.1%}", flush=True)
        return
    print(f"{'metric':10}{'what varies':16}{'seeds':>6}{'wrong':>8}{'coverage':>10}{'power':>8}{'ratio':>8}")
    for metric, name, seeds, one in cells(given.studies):
        line = f"{metric:10}{name:16}{seeds:>6}{one.wrong:>8.1%}{one.coverage:>10.1%}{one.power:>8.1%}{one.ratio:>8.1f}"
        print(f"{line}  {one.misses}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
