"""More workers, more rows: ``python -m tests.benchmarks.scaling`` measures 1, 2 and 4 processes, then counts 8×8 GPUs.

**Measured** (gloo, on this machine's cores; nothing here says anything about NCCL): a step of the sd arm, the same rows
a process whatever their number. Perfect weak scaling keeps the milliseconds of a step; where there are more processes
than cores it cannot, so processor time of a process is shown as well: what grows in it is the loss, whose pairs are
own rows × all rows, and the exchange. Of that the exchange of the loss (``gather``) and of the gradients
(``all-reduce``) are timed alone, with the same bytes.

**Counted**, not measured: what a step of B rows sends on 64 H100 in 8 machines, and how long that takes at the nominal
rate of each link. With W ranks, P trained parameters and D features:

    all-reduce  2 (W-1)/W · 4 P            bytes a rank: a ring's reduce-scatter and all-gather of float32 gradients
    gather        (W-1)/W · B (4 D + 8 S)  bytes a rank: float32 rows, and S = 4 float64 sums of every anchor
    compute     (B / W) · (operations a row) / (the rate that this project's forecast gives an H100)

Labels (some hundred bytes a row), latency and the loss (13.5 ms for 8,192 rows on one GPU; the ranks share it) are left
out, and so is the overlap of all-reduce and backward pass, which hides up to all of it: a step is taken to be the sum.
All-reduce does not grow with the batch, the other two do; so communication takes more than half of a step below the
batch

    B* = all-reduce seconds / (compute seconds a row − gather seconds a row)

and at every batch where the denominator is not positive. Bytes of a ring: NVIDIA, nccl-tests, doc/PERFORMANCE.md
("bus bandwidth"). Rates, one direction: NVLink 4 of an H100 SXM 450 GB/s (data sheet: 900 GB/s both); eight 400 Gb/s
adapters of a DGX H100, one a GPU, 400 GB/s a machine (data sheet); one 100 Gb Ethernet a machine 12.5 GB/s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.ending import main_of
from sdl_study.input_spec import InputSpec
from sdl_study.losses import LabelSets
from sdl_study.models import ProjectionHead
from sdl_study.report.tables import text_table
from sdl_study.study.forecast.devices import GPUS
from sdl_study.study.forecast.encoders import EncoderForecast
from sdl_study.testing.processes import run_processes
from sdl_study.training.model import build_loss, build_model
from sdl_study.training.step import Step
from tests.benchmarks import forecasts, loop
from tests.unit.study.fakes import arms_named

PROCESSES, ROWS, REPEATS, WARM_UP = (1, 2, 4), 64, 12, 3
STUDIES, BATCH = ("mimic", "coco"), 4_096
FLOAT, DOUBLE, SUMS = 4, 8, 4
MACHINES, OF_A_MACHINE = 8, 8


@dataclass(frozen=True)
class Link:
    """What joins ranks.

    Attributes:
        ranks: that take part.
        rate: bytes a second that a ring passes on at its slowest place, nominal.
    """

    name: str
    ranks: int
    rate: float


LINKS = (
    Link("NVLink, 1×8", OF_A_MACHINE, 450e9),
    Link("InfiniBand 8×400 Gb/s, 8×8", MACHINES * OF_A_MACHINE, 400e9),
    Link("Ethernet 100 Gb/s, 8×8", MACHINES * OF_A_MACHINE, 12.5e9),
)


def step_times(rows: int, repeats: int) -> dict[str, float]:
    """On every rank: milliseconds of a step, of its processor, and of its two exchanges alone (medians)."""
    settings = loop.settings_of(loop.SIZES["medium"], 1)
    spec = InputSpec.text(vocab_size=loop.WORDS, pad_token_id=0, max_length=loop.TOKENS)
    arm = Arm(**arms_named("sd")[0].to_dict())
    model = build_model(arm, 0, settings, spec, loop.LABELS)
    step = Step(model, build_loss(arm, settings), settings.train, 100)
    rng = np.random.default_rng(distributed.rank())
    tokens = torch.from_numpy(rng.integers(1, loop.WORDS, (rows, loop.TOKENS)))
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    labels = LabelSets.from_lists(
        (sorted(rng.choice(loop.LABELS, 3, False)) for _ in range(rows)), loop.LABELS
    )
    gradients = torch.zeros(sum(values.numel() for values in model.parameters() if values.requires_grad))
    outputs = torch.zeros(rows, settings.model.projection.features)
    sums = torch.zeros(rows, SUMS, dtype=torch.float64)

    def exchange() -> None:
        distributed.all_gather_rows(outputs)
        distributed.all_gather_rows(sums)

    wall, processor = _medians(lambda: step.update([batch], labels), repeats)
    return {
        "step ms": wall,
        "processor ms": processor,
        "gather ms": _medians(exchange, repeats)[0],
        "all-reduce ms": _medians(lambda: distributed.all_reduce_sum(gradients), repeats)[0],
        "gather KiB": outputs.nbytes / 1024 + sums.nbytes / 1024,
        "all-reduce KiB": gradients.nbytes / 1024,
    }


def _medians(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Wall and processor milliseconds."""
    found = [loop.timed(call) for _ in range(WARM_UP + repeats)][WARM_UP:]
    wall, processor = (1e3 * statistics.median(times) for times in zip(*found, strict=True))
    return wall, processor


def weak_scaling(rows: int, repeats: int) -> list[dict[str, Any]]:
    """A row of the table by number of processes; of the ranks the slowest."""
    table = []
    for processes in PROCESSES:
        ranks = run_processes(step_times, processes, rows, repeats, timeout_seconds=600.0)
        slowest = {name: max(rank[name] for rank in ranks) for name in ranks[0]}
        first = table[0] if table else slowest
        table.append(
            {
                "processes": processes,
                "batch": processes * rows,
                **slowest,
                "of perfect": first["step ms"] / slowest["step ms"],
                "of perfect, processor": first["processor ms"] / slowest["processor ms"],
            }
        )
    return table


def counted(batch: int) -> list[dict[str, Any]]:
    """A row of the table by encoder and link."""
    table = []
    for name in STUDIES:
        for forecast, settings in forecasts.of_study(name):
            features = settings.model.projection.features
            head = _head_parameters(forecast, settings.model.projection)
            compute = _seconds_of_a_row(forecast, settings.train.precision)
            table += [
                _on_link(forecast.name, forecast.trained + head, features, compute, link, batch)
                for link in LINKS
            ]
    return table


def _on_link(
    encoder: str, parameters: int, features: int, of_a_row: float, link: Link, batch: int
) -> dict[str, Any]:
    share = (link.ranks - 1) / link.ranks
    reduced, gathered = 2 * share * FLOAT * parameters, share * (FLOAT * features + DOUBLE * SUMS)
    reduce, gather, compute = reduced / link.rate, gathered / link.rate, of_a_row / link.ranks
    return {
        "encoder": encoder,
        "link": link.name,
        "all-reduce MB": reduced / 1e6,
        "gather MB": gathered * batch / 1e6,
        "all-reduce ms": 1e3 * reduce,
        "gather ms": 1e3 * gather * batch,
        "compute ms": 1e3 * compute * batch,
        "dominates below": "every batch" if compute <= gather else f"{reduce / (compute - gather):,.0f}",
    }


def _head_parameters(forecast: EncoderForecast, projection: Any) -> int:
    width = forecast.traced["contrastive"].shapes["embeddings"][-1]
    head = ProjectionHead(width, projection.hidden, projection.features, projection.norm)
    return sum(values.numel() for values in head.parameters())


def _seconds_of_a_row(forecast: EncoderForecast, precision: str) -> float:
    (device,) = (device for device in GPUS if device.name.startswith("H100"))
    return device.seconds(forecast.traced["contrastive"].both, precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="of a process")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument(
        "--batch", type=int, default=BATCH, help="rows of a step on the GPUs that are counted"
    )
    given = parser.parse_args()
    began = time.monotonic()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    table = weak_scaling(given.rows, given.repeats)
    print(f"measured: gloo, {cores} cores, load {load:.1f} before, {given.rows} rows a process")
    print(
        text_table(
            table, {name: ".2f" if isinstance(value, float) else "" for name, value in table[0].items()}
        )
    )
    table = counted(given.batch)
    print(f"\ncounted, not measured: H100s, {given.batch:,} rows a step, nominal rates")
    print(
        text_table(
            table, {name: ".2f" if isinstance(value, float) else "" for name, value in table[0].items()}
        )
    )
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main_of(main))
