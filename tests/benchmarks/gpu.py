"""What the forecast says of a GPU beside what the GPU does: ``python -m tests.benchmarks.gpu [--only probe]``.

``encoders``: a step of the sd arm with each encoder of the studies ``mimic`` and ``coco``, of its real size with random
weights, at the study's batch and in the micro-batches that the forecast chose for this GPU's memory, on rows of full
length: rows a second in training and in ``embed``, the share of the peak rate that the step reaches, the seconds that
the forecast says, and memory, as forecast and as taken. No weights, data or network are needed.

``probe``: an epoch's last stage at MIMIC-III-full's size (see ``rehearsal``), embeddings on the GPU.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sdl_study.config import Settings
from sdl_study.input_spec import InputSpec
from sdl_study.losses import LabelSets
from sdl_study.models import ProjectionHead
from sdl_study.models.outlines import outline_encoder
from sdl_study.report.tables import text_table
from sdl_study.study.forecast.devices import GPUS, Device, usable_memory
from sdl_study.study.forecast.encoders import EncoderForecast
from sdl_study.study.forecast.memory import Fit, fewest_workers
from sdl_study.training.model import PretrainingModel, build_loss
from sdl_study.training.stages.probe import fit_probe
from sdl_study.training.stages.probe_rows import probe_rows
from sdl_study.training.step import Step
from tests.benchmarks import forecasts
from tests.benchmarks.rehearsal import generated
from tests.unit.study.fakes import arms_named

CUDA = torch.device("cuda")
STUDIES, LABELS, LABELS_PER_ROW, GIB = ("mimic", "coco"), 8_921, 15, 2**30
WARM_UP, REPEATS = 2, 5


def seconds_of(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median of some calls, the device's work included."""
    times = []
    for _ in range(WARM_UP + repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:])


def this_device() -> Device:
    """The GPU at hand: its own memory, and the peak rates of the forecast's GPU of its name."""
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    for known in GPUS:
        if known.name.split()[0] in name.replace("H200", "H100"):  # the same processor with more memory
            return Device(name, float(memory), known.peak)
    raise SystemExit(f"{name}: the forecast knows no peak rate of it")


def batch_of(forecast: EncoderForecast, rows: int) -> dict[str, torch.Tensor]:
    """Rows of full length, on the GPU."""
    spec: InputSpec = forecast.reading.spec
    batch = {name: values.to(CUDA) for name, values in forecast.reading.batch(rows).items()}
    if "input_ids" in batch:
        batch["input_ids"] = torch.randint(5, spec.vocab_size, batch["input_ids"].shape, device=CUDA)
    else:
        batch = {name: torch.randn_like(values) for name, values in batch.items()}
    return batch


def label_sets(rows: int) -> LabelSets:
    """Labels at random, as many as MIMIC's notes have."""
    rng = np.random.default_rng(0)
    return LabelSets.from_lists((rng.choice(LABELS, LABELS_PER_ROW, False) for _ in range(rows)), LABELS)


def measured(forecast: EncoderForecast, fit: Fit, settings: Settings, device: Device) -> dict[str, Any]:
    """A row of the table."""
    train, projection = settings.train, settings.model.projection
    with CUDA:
        encoder = outline_encoder(forecast.kind, forecast.settings, forecast.reading.spec)
        head = ProjectionHead(encoder.width, projection.hidden, projection.features, projection.norm)
    model = PretrainingModel(encoder, head, unit_length=True).train()
    arm = arms_named("sd")[0]
    step = Step(model, build_loss(arm, settings), train, 100, fit.micro_batch if fit.in_parts else None)
    rows, labels = fit.share, label_sets(fit.share)
    whole = batch_of(forecast, rows)
    parts = {name: values.split(fit.micro_batch) for name, values in whole.items()}
    chunks = [dict(zip(parts, of_part, strict=True)) for of_part in zip(*parts.values(), strict=True)]
    torch.cuda.reset_peak_memory_stats()
    taken = seconds_of(lambda: step.update(chunks, labels))
    peak = torch.cuda.max_memory_allocated()
    model.eval()

    def embed() -> None:
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=train.precision == "bf16"):
            for chunk in chunks:
                encoder(**chunk)

    embedded = seconds_of(embed)
    traced = forecast.traced["contrastive"]
    work = traced.both + traced.forward if fit.in_parts else traced.both
    return {
        "encoder": forecast.name,
        "batch": rows,
        "at once": fit.micro_batch,
        "rows/s": rows / taken,
        "embed rows/s": rows / embedded,
        "step ms": 1e3 * taken,
        "forecast ms": 1e3 * device.seconds(work * rows, train.precision),
        "of peak": work.total * rows / taken / device.peak[train.precision],
        "GiB": peak / GIB,
        "forecast GiB": (forecast.state.total + fit.activations) / GIB,
    }


def encoders(device: Device) -> None:
    """Print the table of the encoders."""
    rows = []
    for name in STUDIES:
        for forecast, settings in forecasts.of_study(name):
            usable = usable_memory(device.memory)
            fit = fewest_workers(forecast.state, forecast.heaviest, settings.train.batch_size, usable, 1)
            if fit is None:
                print(f"{forecast.name}: does not fit", flush=True)
                continue
            rows.append({"study": name, **measured(forecast, fit, settings, device)})
            print(rows[-1], flush=True)
            gc.collect()
            torch.cuda.empty_cache()
    columns = {name: ".2f" if isinstance(value, float) else "" for name, value in rows[0].items()}
    print(text_table(rows, columns))


def probe(scale: float, max_rows: int) -> None:
    """Print how long a trial's and a final's probe take."""
    vectors, sets = generated(scale)
    vectors = {split: values.to(CUDA) for split, values in vectors.items()}
    rows = []
    for chosen in (probe_rows(sets["train"], round(max_rows * scale), seed=0), np.arange(len(sets["train"]))):
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        started = time.perf_counter()
        found = fit_probe(
            vectors["train"][chosen], sets["train"][chosen], judge=(vectors["dev"], sets["dev"])
        )
        scores = found.predict_proba(vectors["test"])
        torch.cuda.synchronize()
        rows.append(
            {
                "rows": len(chosen),
                "labels": scores.shape[1],
                "seconds": time.perf_counter() - started,
                "l2": found.l2,
                "GiB": torch.cuda.max_memory_allocated() / GIB,
            }
        )
    print(text_table(rows, {"rows": "", "labels": "", "seconds": ".2f", "l2": "g", "GiB": ".1f"}))


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=("encoders", "probe"))
    parser.add_argument("--scale", type=float, default=1.0, help="of the probe's rows and labels")
    parser.add_argument("--max-rows", type=int, default=10_000, help="probe.max_rows of a trial")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    device = this_device()
    print(f"{device.name}, {device.memory / GIB:.0f} GiB, torch {torch.__version__}", flush=True)
    if given.only in (None, "probe"):
        probe(given.scale, given.max_rows)
    if given.only in (None, "encoders"):
        encoders(device)


if __name__ == "__main__":
    main()
