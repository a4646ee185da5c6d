"""Time and peak extra memory of the sd loss against the obvious vectorised form, on one CPU thread.

    python tests/benchmarks/loss.py                     # all sizes; about twenty minutes
    python tests/benchmarks/loss.py --sizes 256 1024 --labels 80 --pairs 7
    python tests/benchmarks/loss.py --sharded           # 1, 2 and 4 processes
    python tests/benchmarks/loss.py --cuda              # on a GPU, N = 8192 and 65536

Each figure is the median over interleaved pairs (naive, ours, naive, ours, …) of one whole step, from label sets
(or from a multi-hot tensor) to the gradient. Times are CPU seconds of the process, so that other processes on
the machine disturb them less; memory is the high-water mark of a fresh process during the step (Linux).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.losses import LabelSets, SimilarityDissimilarityLoss
from sdl_study.losses.tiles import TilePlan, tile_edge
from sdl_study.testing import run_processes

WIDTH, TEMPERATURE = 256, 0.07
LABELS_PER_ROW = {50: 5.7, 80: 2.9, 8921: 15.0}
"""Mean set sizes close to those of MIMIC's top 50 codes, COCO's 80 objects and MIMIC's full ICD-9 list."""


OURS = {
    "default": SimilarityDissimilarityLoss(TEMPERATURE),
    "small": SimilarityDissimilarityLoss(TEMPERATURE, cache_mib=0),
}


def naive_sd(z: Tensor, y: Tensor) -> Tensor:
    """The obvious vectorised implementation: every matrix N × N, gradients by autograd."""
    s, c, size, itself = (
        z @ z.T / TEMPERATURE,
        y @ y.T,
        y.sum(1),
        torch.eye(len(z), dtype=torch.bool, device=z.device),
    )
    c = c.masked_fill(itself, 0)
    weight = c / size[:, None].clamp_min(1) / (1 + size[None, :] - c)
    count = (c > 0).sum(1, keepdim=True)
    omega = weight / count.clamp_min(1) / (count > 0).sum().clamp_min(1)
    return (omega * (s.masked_fill(itself, -math.inf).logsumexp(1, keepdim=True) - s)).sum()


def zipf_sets(num_rows: int, num_labels: int, seed: int = 0) -> LabelSets:
    """Label sets whose labels follow Zipf's law."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, num_labels + 1)
    share /= share.sum()
    sizes = np.clip(rng.poisson(LABELS_PER_ROW[num_labels] - 1, num_rows) + 1, 1, num_labels // 2)
    return LabelSets.from_lists((rng.choice(num_labels, int(n), False, share) for n in sizes), num_labels)


def embeddings(num_rows: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn((num_rows, WIDTH), generator=generator), dim=1)
    return rows.to(device, dtype).requires_grad_()


def step(form: str, source: str, z: Tensor, labels: LabelSets, multi_hot: Tensor | None) -> None:
    """One forward and backward pass."""
    z.grad = None
    if form == "naive":
        naive_sd(z, labels.to_multi_hot() if multi_hot is None else multi_hot).backward()
    else:
        OURS[form](z, labels if source == "sets" or multi_hot is None else multi_hot).backward()


def pair_times(num_rows: int, num_labels: int, source: str, pairs: int) -> dict[str, float]:
    """Median CPU seconds of each form."""
    z, labels = embeddings(num_rows), zipf_sets(num_rows, num_labels)
    multi_hot = labels.to_multi_hot() if source == "multi-hot" else None
    times: dict[str, list[float]] = {"naive": [], "default": [], "small": []}
    for form in times:
        if num_rows <= 1024:
            step(form, source, z, labels, multi_hot)
    for _ in range(pairs):
        for form, measured in times.items():
            repeats = 5 if num_rows <= 256 else 1
            begin = time.process_time()
            for _ in range(repeats):
                step(form, source, z, labels, multi_hot)
            measured.append((time.process_time() - begin) / repeats)
    return {form: statistics.median(measured) for form, measured in times.items()}


def memory_of(name: str) -> int:
    """A field of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024


def peak_of(form: str, num_rows: int, num_labels: int) -> int:
    """Bytes by which one step's high-water mark exceeds what was held before (label sets given)."""
    z, labels = embeddings(num_rows), zipf_sets(num_rows, num_labels)
    step(form, "sets", embeddings(600), zipf_sets(600, num_labels), None)  # libraries take their own first
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory_of("VmRSS")
    step(form, "sets", z, labels, None)
    return memory_of("VmHWM") - before


def single(sizes: list[int], label_counts: list[int], sources: list[str], pairs: int, memory: bool) -> None:
    print(f"{pairs} pairs, D = {WIDTH}, τ = {TEMPERATURE}, one thread, {torch.__version__}")
    print(
        "| from | L | N | naive s | default s | ratio | small s | ratio | naive MB | default MB | small MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for source in sources:
        for num_labels in label_counts:
            for num_rows in sizes:
                t = pair_times(num_rows, num_labels, source, pairs)
                peaks = ["", "", ""]
                if memory and source == "sets":
                    arguments = (num_rows, num_labels)
                    answers = [
                        run_processes(peak_of, 1, form, *arguments, initialize=False, timeout_seconds=600)[0]
                        for form in t
                    ]
                    peaks = [f"{answer / 1e6:.0f}" for answer in answers]
                ratios = [t["naive"] / t[form] for form in ("default", "small")]
                cells = (
                    source, num_labels, num_rows, f"{t['naive']:.4f}", f"{t['default']:.4f}",
                    f"{ratios[0]:.2f}", f"{t['small']:.4f}", f"{ratios[1]:.2f}", *peaks,
                )  # fmt: skip
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def sharded_step(num_rows: int, num_labels: int, cache_mib: float, repeats: int) -> dict[str, Any]:
    """What one rank measures: CPU seconds, peak memory beyond the gathered rows, share of all pairs visited."""
    rank, world = distributed.rank(), distributed.world_size()
    share = num_rows // world
    mine = slice(rank * share, (rank + 1) * share)
    labels = zipf_sets(num_rows, num_labels)[mine]
    z = embeddings(num_rows).detach()[mine].clone().requires_grad_()
    loss = SimilarityDissimilarityLoss(TEMPERATURE, cache_mib=cache_mib)
    loss(z[:600], labels[:600]).backward()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory_of("VmRSS")
    loss(z, labels).backward()
    peak = memory_of("VmHWM") - before - num_rows * WIDTH * 4
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        loss(z, labels).backward()
        seconds.append(time.process_time() - begin)
    plan = TilePlan(mine.start, mine.stop, num_rows, tile_edge(z.device))
    visited = plan.visited_pairs() / num_rows**2
    return {"seconds": statistics.median(seconds), "peak": peak, "visited": visited}


def sharded(num_rows: int, label_counts: list[int], repeats: int) -> None:
    print(f"N = {num_rows}, largest of all ranks, {repeats} repeats; MB beyond the gathered rows")
    print("| L | processes | cache MiB | CPU s per rank | pairs per rank | extra MB per rank |")
    print("|---|---|---|---|---|---|", flush=True)
    for num_labels in label_counts:
        for world in (1, 2, 4):
            for cache_mib in (256.0, 0.0):
                answers = run_processes(
                    sharded_step, world, num_rows, num_labels, cache_mib, repeats, timeout_seconds=600
                )
                worst = {key: max(answer[key] for answer in answers) for key in answers[0]}
                print(
                    f"| {num_labels} | {world} | {cache_mib:.0f} | {worst['seconds']:.2f} "
                    f"| {100 * worst['visited']:.1f}% | {worst['peak'] / 1e6:.0f} |",
                    flush=True,
                )


def cuda(sizes: list[int], label_counts: list[int], pairs: int) -> None:
    print(f"{torch.cuda.get_device_name()}, {torch.__version__}, D = {WIDTH}")
    print("| dtype | L | N | form | ms | peak MB |\n|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for num_labels in label_counts:
            for num_rows in sizes:
                z, labels = embeddings(num_rows, "cuda", dtype), zipf_sets(num_rows, num_labels)
                for form in ("naive", "default", "small"):
                    if form == "naive" and num_rows > 20000:
                        continue  # its matrices would need more than 100 GB
                    y = labels.to_multi_hot(dtype, "cuda") if form == "naive" else None
                    times = []
                    torch.cuda.reset_peak_memory_stats()
                    held = torch.cuda.memory_allocated()
                    for _ in range(pairs):
                        torch.cuda.synchronize()
                        begin = time.perf_counter()
                        step(form, "sets", z, labels, y)
                        torch.cuda.synchronize()
                        times.append(time.perf_counter() - begin)
                    peak = torch.cuda.max_memory_allocated() - held
                    cells = (dtype, num_labels, num_rows, form, f"{1e3 * statistics.median(times):.1f}")
                    print("| " + " | ".join(map(str, cells)) + f" | {peak / 1e6:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--labels", type=int, nargs="+", default=[80, 50, 8921], choices=LABELS_PER_ROW)
    parser.add_argument("--sources", nargs="+", default=["sets", "multi-hot"], choices=["sets", "multi-hot"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.cuda:
        cuda(chosen.sizes or [8192, 65536], chosen.labels, chosen.pairs)
    elif chosen.sharded:
        sharded((chosen.sizes or [8192])[0], chosen.labels, chosen.pairs)
    else:
        sizes = chosen.sizes or [256, 512, 1024, 2048, 4096, 8192]
        single(sizes, chosen.labels, chosen.sources, chosen.pairs, not chosen.no_memory)


if __name__ == "__main__":
    main()
