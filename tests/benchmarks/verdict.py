"""How often a verdict is wrong when there is nothing to find.

    python -m tests.benchmarks.verdict [--studies 2000]

Simulates null studies, two arms of the same quality, and prints for each method the share whose 95% interval
leaves out zero: the project's (Cochran-Cox), Satterthwaite's degrees of freedom, and a percentile bootstrap
over seeds and patients. First for means over 300 patients, where seeds, patients and noise vary in different
proportions, and over a few patients; then for metrics that are no means (map, macro_f1) on simulated
predictions.
"""

from __future__ import annotations

import argparse

import numpy as np

from sdl_study.evaluation.predictions import FinalIdentity, Predictions
from sdl_study.evaluation.targets import as_targets
from sdl_study.evaluation.verdict import compare, paired_interval

PATIENTS = 300
FEW = (3, 5, 10)
# Standard deviations of the difference: between seeds, between patients, of a patient between seeds.
MIXTURES = {
    "seeds above patients": (0.1, 1.0, 1.0),
    "about equal": (0.0577, 1.0, 0.3),
    "patients above seeds": (0.01, 1.0, 1.0),
    "noise alone": (0.0, 0.0, 1.0),
    "seeds almost alone": (0.2, 0.3, 0.3),
    "patients alone": (0.0, 1.0, 0.0),
}
FEW_MIXTURES = {"patients alone": (0.0, 1.0, 0.0), "patients and noise": (0.0, 1.0, 1.0)}


def null_study(
    seeds: int,
    mixture: tuple[float, float, float],
    replicates: int,
    generator: np.random.Generator,
    patients: int = PATIENTS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences [k], their bootstrap replicates [r, k], and the percentile bootstrap's means [r]."""
    between_seeds, between_patients, noise = mixture
    values = (
        between_seeds * generator.normal(size=(seeds, 1))
        + between_patients * generator.normal(size=(1, patients))
        + noise * generator.normal(size=(seeds, patients))
    )
    weights = generator.multinomial(patients, np.full(patients, 1 / patients), size=replicates)
    resampled = weights @ values.T / patients
    drawn = generator.integers(seeds, size=(replicates, seeds))
    return values.mean(axis=1), resampled, np.take_along_axis(resampled, drawn, axis=1).mean(axis=1)


def mean_rates(
    seeds: int,
    mixture: tuple[float, float, float],
    studies: int,
    replicates: int = 200,
    patients: int = PATIENTS,
    seed: int = 0,
) -> dict[str, float]:
    """Share of null studies in which each method sees a difference."""
    generator = np.random.default_rng([seed, seeds, patients, *(round(1e4 * part) for part in mixture)])
    wrong = {"cochran-cox": 0, "satterthwaite": 0, "percentile": 0}
    for _ in range(studies):
        differences, resampled, means = null_study(seeds, mixture, replicates, generator, patients)
        for method in ("cochran-cox", "satterthwaite"):
            interval = paired_interval(differences, resampled, patients, method=method)
            wrong[method] += not interval.low <= 0 <= interval.high
        low, high = np.quantile(means, [0.025, 0.975])
        wrong["percentile"] += not low <= 0 <= high
    return {method: count / studies for method, count in wrong.items()}


def null_predictions(
    seeds: int, seed_sd: float, generator: np.random.Generator, *, labels: int = 8, effect: float = 0.0
) -> tuple[list[Predictions], list[Predictions]]:
    """Finals of two arms; signal varies between seeds, and each arm has its own noise for every patient."""
    truth = generator.random((PATIENTS, labels)) < np.linspace(0.3, 0.05, labels)
    shared = generator.normal(size=truth.shape) - 2.0
    targets, rows = as_targets(truth, truth.shape), np.arange(PATIENTS)
    arms: list[list[Predictions]] = []
    for arm, gain in (("first", effect), ("second", 0.0)):
        own = shared + 0.5 * generator.normal(size=truth.shape)
        finals = []
        for number in range(seeds):
            signal = 2.0 + gain + seed_sd * generator.normal()
            logits = own + signal * truth + 0.5 * generator.normal(size=truth.shape)
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            identity = FinalIdentity("null", arm, "probe", number)
            finals.append(Predictions(rows, rows, scores, targets, identity, "d", "f", "1", 0.4))
        arms.append(finals)
    return arms[0], arms[1]


def prediction_rate(metric: str, seeds: int, seed_sd: float, studies: int, seed: int = 0) -> float:
    """Share of null studies of predictions in which the verdict sees a difference."""
    generator = np.random.default_rng([seed, seeds, round(1e4 * seed_sd), len(metric)])
    wrong = 0
    for _ in range(studies):
        first, second = null_predictions(seeds, seed_sd, generator)
        wrong += compare(first, second, metric=metric, replicates=200).word != "not distinguishable"
    return wrong / studies


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--studies", type=int, default=2000, help="null studies per cell (metrics: a fifth of it)"
    )
    studies = parser.parse_args().studies
    print(f"{studies} null studies per line, nominal 5%")
    columns = f"{'seeds':>6}{'cochran-cox':>14}{'satterthwaite':>15}{'percentile':>12}"
    print(f"{'mean of patients':24}{'patients':>9}{columns}")
    cases = [(mixture, PATIENTS, seeds) for mixture in MIXTURES.items() for seeds in (2, 3, 5, 10)]
    cases += [(mixture, few, 3) for mixture in FEW_MIXTURES.items() for few in FEW]
    for (name, mixture), patients, seeds in cases:
        rates = mean_rates(seeds, mixture, studies, patients=patients)
        print(f"{name:24}{patients:>9}{seeds:>6}{rates['cochran-cox']:>14.1%}{rates['satterthwaite']:>15.1%}"
              f"{rates['percentile']:>12.1%}", flush=True)  # fmt: skip
    print(f"\n{'metric':24}{'seeds':>6}{'seed sd':>9}{'cochran-cox':>14}")
    for metric in ("map", "macro_f1", "map_document"):
        for seeds in (3, 5):
            for seed_sd in (0.02, 0.1, 0.3):
                rate = prediction_rate(metric, seeds, seed_sd, max(1, studies // 5))
                print(f"{metric:24}{seeds:>6}{seed_sd:>9}{rate:>14.1%}", flush=True)


if __name__ == "__main__":
    main()
