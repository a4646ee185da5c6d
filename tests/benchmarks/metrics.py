"""Seconds and memory of the metrics, the thresholds, bootstrap replicates and the probe, on one core.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.metrics [--probe-rows 50000 --probe-labels 892]

Sizes: a demo's dev split, MIMIC-III-full's test split (8,921 labels x 3,372 documents, in under 10 s), and a
probe of an epoch. The last line fits a probe at a share of MIMIC-III-full's labels; labels are fitted in
blocks, so its time grows with their number.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sdl_study.evaluation import multilabel_metrics, tune_threshold
from sdl_study.evaluation.metrics import weighted_metric
from sdl_study.evaluation.targets import as_targets
from sdl_study.evaluation.verdict import group_weights
from sdl_study.losses import LabelSets
from sdl_study.training.stages.probe import fit_probe

LIMIT_SECONDS = 10.0


def zipf_case(
    documents: int, labels: int, dtype: Any = np.float32, seed: int = 0
) -> tuple[np.ndarray, LabelSets]:
    """Scores and label sets with frequencies that fall like those of ICD codes: about 16 labels a document at 8,921."""
    generator = np.random.default_rng(seed)
    frequency = np.minimum(0.4, 1.47 / np.arange(1, labels + 1) ** 0.95)
    truth = generator.random((documents, labels), dtype=np.float32) < frequency
    logits = generator.standard_normal((documents, labels), dtype=np.float32) + 4 * truth - 4
    sets = LabelSets.from_multi_hot(torch.from_numpy(truth))
    return (1 / (1 + np.exp(-logits))).astype(dtype), sets


def seconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """The shortest time of some calls."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def metrics_seconds(documents: int, labels: int, dtype: Any, repeats: int) -> tuple[float, float]:
    """Seconds of ``tune_threshold`` and of ``multilabel_metrics``."""
    scores, sets = zipf_case(documents, labels, dtype)
    tune = seconds(lambda: tune_threshold(scores, sets), repeats)
    return tune, seconds(lambda: multilabel_metrics(scores, sets, threshold=0.3), repeats)


def replicate_seconds(metric: str, documents: int, labels: int, replicates: int = 100) -> tuple[float, float]:
    """Seconds that ``weighted_metric`` takes once, and for each bootstrap replicate."""
    scores, sets = zipf_case(documents, labels)
    targets = as_targets(sets, scores.shape)
    weights, _ = group_weights(np.arange(documents), replicates, 0)
    start = time.perf_counter()
    of_weights = weighted_metric(metric, scores, targets, 0.3)
    middle = time.perf_counter()
    of_weights(weights)
    return middle - start, (time.perf_counter() - middle) / replicates


def contrast_seconds(documents: int, labels: int, finals: int = 10, replicates: int = 1000) -> float:
    """Seconds of a contrast's metric ``map`` and its replicates: five pairs of finals (one final, ten times)."""
    scores, sets = zipf_case(documents, labels)
    targets = as_targets(sets, scores.shape)
    weights, _ = group_weights(np.arange(documents), replicates + 1, 0)
    start = time.perf_counter()
    for _ in range(finals):
        weighted_metric("map", scores, targets, 0.3)(weights)
    return time.perf_counter() - start


def probe_seconds(rows: int, width: int, labels: int, repeats: int) -> float:
    """Seconds of ``fit_probe`` with three strengths."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(rows, width, generator=generator)
    weights = 2 * torch.randn(width, labels, generator=generator) / width**0.5
    frequency = torch.clamp(1.5 / torch.arange(1, labels + 1) ** 0.9, max=0.25)
    chance = torch.sigmoid(embeddings @ weights + torch.logit(frequency))
    sets = LabelSets.from_multi_hot(chance > torch.rand(rows, labels, generator=generator))
    return seconds(lambda: fit_probe(embeddings, sets), repeats)


def main() -> None:
    """Print the table; exit code 1 where the bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--probe-rows", type=int, default=50_000)
    parser.add_argument(
        "--probe-labels", type=int, default=0, help="labels of the large probe; 0 leaves it out"
    )
    options = parser.parse_args()
    print(f"threads: {torch.get_num_threads()}")
    worst = 0.0
    for documents, labels, dtype, repeats in [
        (2_000, 40, np.float32, 5),
        (1_000, 10, np.float32, 5),
        (3_372, 8_921, np.float32, 1),
        (3_372, 8_921, np.float64, 1),
    ]:
        tune, metrics = metrics_seconds(documents, labels, dtype, repeats)
        worst = max(worst, metrics)
        name = f"{documents:,} x {labels:,} {np.dtype(dtype).name}"
        print(f"{name:28} tune_threshold {tune:8.4f} s   multilabel_metrics {metrics:8.4f} s", flush=True)
    sizes = [(3_372, 8_921, name) for name in ("map", "macro_auc", "micro_auc", "macro_f1", "map_document")]
    for documents, labels, metric in [*sizes, (19_802, 7_942, "map")]:  # MIMIC-IV's ICD-10 test split
        once, each = replicate_seconds(metric, documents, labels)
        name = f"{documents:,} x {labels:,} {metric}"
        print(f"{name:28} weighted_metric {once:8.4f} s   replicate {each:8.4f} s", flush=True)
    print(f"a contrast of five pairs at 19,802 x 7,942: {contrast_seconds(19_802, 7_942):.1f} s", flush=True)
    for rows, width, labels in [(8_000, 64, 40), (4_000, 128, 10)]:
        print(
            f"probe {rows:,} x {width} x {labels}: {probe_seconds(rows, width, labels, 3):.3f} s", flush=True
        )
    if options.probe_labels:
        took = probe_seconds(options.probe_rows, 64, options.probe_labels, 1)
        print(f"probe {options.probe_rows:,} x 64 x {options.probe_labels:,}: {took:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB; slowest metrics {worst:.1f} s (bound {LIMIT_SECONDS:.0f} s)")
    raise SystemExit(int(worst >= LIMIT_SECONDS))


if __name__ == "__main__":
    main()
