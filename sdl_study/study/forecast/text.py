"""A forecast as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from sdl_study.record.trials import LENGTH
from sdl_study.report.tables import text_table
from sdl_study.stages import FINETUNE
from sdl_study.study.forecast.devices import (
    CONTEXT_BYTES,
    CONVOLUTION_SHARE,
    GIB,
    GPUS,
    MATRIX_SHARE,
    MEMORY_SHARE,
    Device,
)
from sdl_study.study.forecast.encoders import EncoderForecast
from sdl_study.study.forecast.memory import MOST_WORKERS, Fit
from sdl_study.study.forecast.plans import steps_of
from sdl_study.study.forecast.trace import Work
from sdl_study.study.forecast.units import bytes_of, millions_of, time_of
from sdl_study.study.forecast.whole import Forecast

_NODE = 8  # GPUs of the machine that hours are given for
_A_DAY = 86_400.0
_BUSY = 0.25  # of the CPUs, beyond which a measured step tells too little


def forecast_text(forecast: Forecast) -> str:
    """Everything that is known of a study before it runs."""
    return "\n".join(
        [
            *_head(forecast),
            "",
            *_encoders(forecast),
            "",
            *_one_batch(forecast),
            "",
            *_trials(forecast),
            "",
            *_hours(forecast),
            "",
            *_disk(forecast),
            "",
            *_assumptions(forecast),
        ]
    )


def _head(forecast: Forecast) -> Iterator[str]:
    plan, sizes, settings = forecast.plan, forecast.sizes, forecast.settings
    yield f"{plan.name}: a forecast; nothing is written and nothing is trained"
    counted = "counted" if forecast.from_data else "as expected; for your own name them with --data DIR"
    yield (
        f"data: {sizes.name}, {sizes.train:,} / {sizes.dev:,} / {sizes.test:,} examples (train / dev / test), "
        f"{sizes.labels:,} labels ({counted})"
    )
    train = settings.train
    searched = plan.space.searches("train.batch_size")
    length = f"{'up to ' if plan.space.searches(LENGTH) else ''}{train.epochs}"
    yield (
        f"arms: {', '.join(plan.arm_names)}; batch {train.batch_size}{' (searched)' if searched else ''}, "
        f"{length} epochs, {steps_of(settings, sizes):,} steps, {train.precision}"
    )


def _encoders(forecast: Forecast) -> Iterator[str]:
    rows = []
    for encoder in forecast.encoders:
        heaviest, reading = encoder.heaviest, encoder.reading
        rows.append(
            {
                "encoder": encoder.name,
                "parameters": millions_of(encoder.parameters),
                "trained": millions_of(encoder.trained),
                "reads": _reads(encoder),
                "store": bytes_of(reading.bytes_of_store(forecast.sizes)),
                "GFLOP a row": heaviest.both.total / 1e9,
                "GFLOP a step": heaviest.both.total * forecast.settings.train.batch_size / 1e9,
            }
        )
    forms = {"GFLOP a row": ",.4g", "GFLOP a step": ",.4g"}
    yield text_table(rows, {column: forms.get(column, "") for column in rows[0]})
    known = [encoder.name for encoder in forecast.encoders if encoder.reading.known]
    if known:
        yield (
            f"{', '.join(known)}: the model's own configuration is out of reach (no network, or no such folder); sizes "
            "as published stand in (sdl_study/models/known.json)"
        )


def _reads(encoder: EncoderForecast) -> str:
    reading = encoder.reading
    if reading.spec.modality == "image":
        return f"{reading.spec.image_size} x {reading.spec.image_size} pixels"
    if reading.spec.modality == "features":
        return f"{reading.spec.width} numbers"
    chunks = f"{reading.chunks} x " if reading.chunks > 1 else ""
    return f"{chunks}{reading.spec.max_length} tokens"


def _one_batch(forecast: Forecast) -> Iterator[str]:
    yield "shapes of one batch, before it is shared among workers and cut into micro-batches:"
    batch = forecast.settings.train.batch_size
    for encoder in forecast.encoders:
        shapes: dict[str, tuple[int, ...]] = {}
        for traced in encoder.traced.values():
            shapes |= traced.shapes
        inputs = {name: tuple(values.shape) for name, values in encoder.reading.batch(1).items()}
        shapes = (
            inputs | shapes
        )  # where the outputs of a frozen part stand in their place, the inputs as well
        told = ", ".join(f"{name} {[batch, *shape[1:]]}" for name, shape in shapes.items())
        yield f"  {encoder.name}: {told}"


def _trials(forecast: Forecast) -> Iterator[str]:
    amount, arms = forecast.amount, len(forecast.plan.arms)
    reached = ", ".join(f"{rung.trials} to epoch {rung.epoch}" for rung in amount.rungs)
    each = f" in each of {amount.searches} searches" if amount.searches > 1 else ""
    yield (
        f"trials of each of {arms} arms{each}: {reached} (about: ASHA goes by what it sees), "
        f"{amount.search_epochs} epochs"
    )
    budget = forecast.settings.budget
    if budget.by_time:
        limits = {"hours": budget.hours, "GPU hours": budget.gpu_hours}
        words = " or ".join(f"{limit:g} {name}" for name, limit in limits.items() if limit is not None)
        yield f"at most: after {words} of the search no new trial is asked, and what follows here comes beside"
    yield (
        f"then {amount.repeats} repeats of the best on selection seeds and {amount.finals} finals, "
        f"{amount.epochs} epochs each; in all {arms * amount.trainings + forecast.again} trainings"
    )
    if forecast.again:
        yield f"  among them {forecast.again} finals of {forecast.plan.method} once more, on other seeds (A/A)"
    finetune = forecast.settings.finetune
    if FINETUNE in forecast.settings.stages:
        yield (
            f"then {amount.finals} fine-tunings of each arm, {finetune.epochs} epochs of batches of "
            f"{finetune.batch_size}, head {finetune.head}; bce and asl train on labels for both stages instead"
        )


def _hours(forecast: Forecast) -> Iterator[str]:
    devices = _devices(forecast)
    rows = [_on_device(forecast, encoder, device) for encoder in forecast.encoders for device in devices]
    yield text_table(rows, dict.fromkeys(rows[0], ""))
    if len(forecast.encoders) > 1:
        yield f"study: if every trial took that encoder; of a search that takes all alike: {_means(forecast)} on one"
    if forecast.measured is None:
        yield "no step was measured here: even one row of the smallest encoder takes too long, or too much memory"
    else:
        measured = forecast.measured
        yield (
            f"measured here: {measured.rows} rows of the smallest encoder in {time_of(measured.seconds)} on "
            f"{measured.device}: {measured.rate / 1e9:,.3g} GFLOP/s"
        )
        if measured.busy is not None and measured.busy > _BUSY:
            yield (
                f"  while other work kept {measured.busy:.0%} of the CPUs busy: alone, this machine is faster than that"
            )


def _devices(forecast: Forecast) -> tuple[Device, ...]:
    """The GPUs, and this machine where a trial of the smallest encoder takes it less than a day."""
    if forecast.measured is None:
        return GPUS
    here, precision = (
        forecast.measured.as_device(forecast.settings.train.precision),
        forecast.settings.train.precision,
    )
    trial = min(
        forecast.trial_work(encoder, None, name).total
        for encoder in forecast.encoders
        for name in encoder.traced
    )
    return (*GPUS, here) if here.seconds(Work(trial), precision) < _A_DAY else GPUS


def _on_device(forecast: Forecast, encoder: EncoderForecast, device: Device) -> dict[str, object]:
    fit = forecast.fit(encoder, device)
    precision = forecast.settings.train.precision
    row: dict[str, object] = {"encoder": encoder.name, "device": device.name}
    if fit is None:
        return row | {
            "GPUs a trial": f"does not fit {MOST_WORKERS}", "micro-batch": None, "memory": None, "of it state": None,
            "step": None, "trial": None, "study on one": None, f"on {_NODE}": None,
        }  # fmt: skip
    pretraining = max(encoder.traced, key=lambda name: forecast.trial_work(encoder, fit, name).total)
    trial = device.seconds(forecast.trial_work(encoder, fit, pretraining), precision)
    study = device.seconds(forecast.study_work(encoder, fit), precision)
    one_step = encoder.traced[pretraining].both
    if pretraining != "supervised" and fit.in_parts:
        one_step += encoder.traced[pretraining].forward
    rows = forecast.settings.train.batch_size
    padded = encoder.reading.padded_share(fit.micro_batch)
    return row | {
        "GPUs a trial": _workers(fit),
        "micro-batch": fit.micro_batch,
        "memory": bytes_of(fit.total),
        "of it state": bytes_of(fit.state),
        "step": time_of(device.seconds(one_step * (rows * padded), precision) / fit.workers),
        "trial": time_of(trial / fit.workers),
        "study on one": time_of(study),
        f"on {_NODE}": time_of(study / _NODE),
    }


def _workers(fit: Fit) -> str:
    return f"{fit.workers} (train.parallel=fsdp)" if fit.sharded else str(fit.workers)


def _means(forecast: Forecast) -> str:
    found = []
    for device in _devices(forecast):
        fits = [(encoder, forecast.fit(encoder, device)) for encoder in forecast.encoders]
        seconds = [
            device.seconds(forecast.study_work(encoder, fit), forecast.settings.train.precision)
            for encoder, fit in fits
            if fit is not None
        ]
        if len(seconds) == len(fits):
            found.append(f"{device.name} {time_of(sum(seconds) / len(seconds))}")
    return ", ".join(found)


def _disk(forecast: Forecast) -> Iterator[str]:
    stores: dict[str, float] = {}
    for encoder in forecast.encoders:
        stores[str(sorted(encoder.reading.settings.items()))] = encoder.reading.bytes_of_store(forecast.sizes)
    largest = max(forecast.encoders, key=lambda encoder: encoder.state.checkpoint)
    finals = len(forecast.plan.arms) * forecast.amount.finals + forecast.again
    finals *= len(forecast.settings.stages)
    scores = (
        2 * 4 * forecast.sizes.test * forecast.sizes.labels
    )  # of each label, and in the predictions again
    checkpoint = largest.state.checkpoint
    outputs = sum(part.nbytes for encoder in forecast.encoders for part in encoder.kept_parts)
    frozen = f" and outputs of frozen parts {bytes_of(outputs)}" if outputs else ""
    yield (
        f"disk: stores {bytes_of(sum(stores.values()))}{frozen}; a checkpoint of {largest.name} {bytes_of(checkpoint)}"
    )
    yield (
        f"  while {_NODE} trials run: up to {bytes_of(2 * _NODE * checkpoint)} (last and best epoch of each); kept of "
        f"{finals} finals: up to {bytes_of(finals * (largest.state.weights + scores))} (weights and scores)"
    )


def _assumptions(forecast: Forecast) -> Iterator[str]:
    measured = any(encoder.reading.texts for encoder in forecast.encoders)
    if forecast.sizes.modality == "text":
        yield (
            "texts: padded to the longest of a micro-batch, as in a sample of train"
            if measured
            else "texts: every one at its longest, an upper bound; a sample tells where data and tokenizer are at hand"
        )
    yield (
        f"hours: makers' dense peak rates, of which products of matrices reach {MATRIX_SHARE:.0%} and convolutions "
        f"{CONVOLUTION_SHARE:.1%}; the loss, the probe, the reading of data and, where steps take less than some ten "
        "milliseconds, the starting of operations come on top"
    )
    yield from _of_frozen_parts(forecast)
    yield (
        "memory: weights, gradients and AdamW's moments in float32 (state), and what is alive at once in a pass over a "
        f"micro-batch; {MEMORY_SHARE:.0%} of a GPU less {CONTEXT_BYTES / GIB:.0f} GiB may be filled"
    )
    yield (
        "GPUs a trial: the fewest on which the batch fits; contrastive arms go forward twice where it is cut into "
        "micro-batches, with the same gradient"
    )


def _of_frozen_parts(forecast: Forecast) -> Iterator[str]:
    for encoder in forecast.encoders:
        part = encoder.frozen
        if part is None:
            continue
        outputs = f"{encoder.name}: the outputs of its frozen part, {bytes_of(part.nbytes)},"
        yield (
            f"{outputs} are computed once in the study, and no step computes them again"
            if part.kept
            else f"{outputs} are more than train.frozen_outputs_gib: every step computes them anew"
        )
        if encoder.other_frozen:
            more = sum(other.nbytes for other in encoder.other_frozen if other.kept)
            outputs = f"; outputs for the other numbers of them take {bytes_of(more)} more" if more else ""
            yield (
                f"{encoder.name}: its hours and memory are those with the fewest frozen layers that are searched"
                f"{outputs}"
            )
