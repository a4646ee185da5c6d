"""What a frozen encoder is worth: the linear probe on its embeddings, scored on dev, and at the end on test inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import nn

from sdl_study import distributed
from sdl_study.config import Settings
from sdl_study.evaluation import objective
from sdl_study.evaluation.embeddings import EMBEDDINGS_FILE, save_embeddings, some_places
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.evaluation.thresholds import tune_threshold
from sdl_study.record.files import ENCODER_FOLDER, PROBE_FILE
from sdl_study.seeds import derive_seed
from sdl_study.training.inputs import Inputs
from sdl_study.training.stages.embed import embed
from sdl_study.training.stages.probe import Probe, fit_probe
from sdl_study.training.stages.probe_rows import probe_rows
from sdl_study.workers.job import Job

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


def _fit(
    encoder: nn.Module,
    inputs: Inputs,
    dev: Float[Tensor, "dev width"],
    settings: Settings,
    seed: int,
    device: torch.device,
    most: int | None,
) -> Probe:
    """The probe on the embeddings of train, or of ``most`` rows of it: the study's own, the same in all of its jobs."""
    rows = probe_rows(inputs.train_labels, most, derive_seed(settings.seed, "rows of the probe"))
    embeddings = embed(encoder, inputs.train_rows[rows], inputs, device, settings.train.precision)
    probe = settings.probe
    return fit_probe(
        embeddings,
        inputs.train_labels[rows],
        l2_grid=probe.l2_grid,
        grow=probe.grow,
        scaling=probe.scaling,
        judge=(dev, inputs.dev_labels) if probe.chosen_on == "dev" else None,
        seed=derive_seed(seed, "probe"),
    )


def dev_metrics(
    encoder: nn.Module, inputs: Inputs, settings: Settings, seed: int, device: torch.device
) -> dict[str, float]:
    """Dev metrics of an epoch's probe on the frozen encoder, with what was chosen for it.

    Returns:
        Nothing on ranks other than 0.

    Raises:
        SettingFailure: on every rank, the embeddings are not finite or the probe does not fit the memory.
    """
    dev = embed(encoder, inputs.dev_rows, inputs, device, settings.train.precision)
    probe = _fit(encoder, inputs, dev, settings, seed, device, settings.probe.max_rows)
    if distributed.rank() != 0:
        return {}
    chosen = {"probe/l2": float(probe.l2)} if settings.probe.grow else {}
    scores = probe.predict_proba(dev).cpu().numpy()
    return metrics_of(scores, inputs, settings)[0] | chosen | _scaling(probe, settings)


def _scaling(probe: Probe, settings: Settings) -> dict[str, float]:
    """Which scaling was chosen, where there was a choice: 1 for unit length."""
    return {"probe/unit_length": float(probe.scaling == "unit")} if len(settings.probe.scaling) > 1 else {}


def metrics_of(
    scores: Float[np.ndarray, "dev L"], inputs: Inputs, settings: Settings
) -> tuple[dict[str, float], float]:
    """Metrics of scores of dev, and the threshold that was chosen there."""
    labels = inputs.dev_labels
    threshold = float(tune_threshold(scores, labels))
    metrics = objective.dev_metrics(
        scores,
        labels,
        threshold=threshold,
        objective=settings.objective,
        min_positives=settings.objective_min_positives,
    )
    return metrics, threshold


def last_stage(
    encoder: nn.Module,
    inputs: Inputs,
    settings: Settings,
    job: Job,
    device: torch.device,
    beside: Mapping[str, Weights] | None = None,
) -> dict[str, float]:
    """Fit the probe on all of train and score the test inputs into the job's folder; their labels are not known here.

    Rank 0 writes ``test_scores.npz`` (rows, scores) and the encoder, with the tokenizer or image processor whose inputs
    it reads, the probe and, ``beside`` them, further weights by their files' names; of open data some embeddings too.

    Returns:
        Dev metrics, dev's threshold and the probe's strength; empty on ranks other than 0.

    Raises:
        SettingFailure: as ``dev_metrics``.
    """
    dev = embed(encoder, inputs.dev_rows, inputs, device, settings.train.precision)
    probe = _fit(encoder, inputs, dev, settings, job.seed, device, most=None)
    test = embed(encoder, inputs.test_rows, inputs, device, settings.train.precision)
    if distributed.rank() != 0:
        return {}
    metrics, threshold = metrics_of(probe.predict_proba(dev).cpu().numpy(), inputs, settings)
    folder = Path(job.folder)
    save_scores(folder / SCORES_FILE, inputs.test_rows, probe.predict_proba(test).cpu().numpy())
    if inputs.are_open:
        places = some_places(len(test), derive_seed(settings.seed, "map of embeddings"))
        save_embeddings(folder / EMBEDDINGS_FILE, inputs.test_rows[places], test[places].cpu().numpy())
    save_encoder(encoder, inputs, folder / ENCODER_FOLDER, {PROBE_FILE: probe.weights(), **(beside or {})})
    return {
        **metrics,
        "dev/threshold": threshold,
        "probe/l2": float(probe.l2),
        **_scaling(probe, settings),
    }


def save_encoder(encoder: nn.Module, inputs: Inputs, folder: Path, beside: Mapping[str, Weights]) -> None:
    """Write an encoder with the tokenizer or image processor whose inputs it reads.

    Args:
        encoder: whole.
        inputs: what it reads.
        folder: made where it is not there.
        beside: further files of weights, by name.
    """
    folder.mkdir(exist_ok=True)
    inputs.store.save_processor(folder)  # before the encoder, whose last file says that the folder is whole
    for name, weights in beside.items():
        own = {key: values.detach().cpu().contiguous() for key, values in weights.items()}
        save_file(own, folder / name)
    encoder.save_pretrained(folder)  # type: ignore[operator]
