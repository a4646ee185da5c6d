"""What a frozen encoder is worth: the linear probe on its embeddings, scored on dev, and at the end on test inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from sdl_study import distributed
from sdl_study.config import Settings
from sdl_study.evaluation import objective
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.evaluation.thresholds import tune_threshold
from sdl_study.seeds import derive_seed
from sdl_study.training.inputs import Inputs
from sdl_study.training.stages.embed import embed
from sdl_study.training.stages.probe import Probe, fit_probe
from sdl_study.workers.job import Job

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ENCODER_FOLDER = "encoder"


def _fit(
    encoder: nn.Module, inputs: Inputs, settings: Settings, seed: int, device: torch.device
) -> Probe | None:
    """The probe on train's embeddings, on rank 0; None elsewhere."""
    embeddings = embed(encoder, inputs.train_rows, inputs, device, settings.train.precision)
    if distributed.rank() != 0:
        return None
    seed = derive_seed(seed, "probe")
    probe = settings.probe
    return fit_probe(embeddings, inputs.train_labels, l2_grid=probe.l2_grid, grow=probe.grow, seed=seed)


def dev_metrics(
    encoder: nn.Module, inputs: Inputs, settings: Settings, seed: int, device: torch.device
) -> dict[str, float]:
    """Dev metrics of a probe on the frozen encoder, with its strength where that may lie outside of the grid;
    empty on ranks other than 0."""
    probe = _fit(encoder, inputs, settings, seed, device)
    dev = embed(encoder, inputs.dev_rows, inputs, device, settings.train.precision)
    if probe is None:
        return {}
    strength = {"probe/l2": float(probe.l2)} if settings.probe.grow else {}
    return _dev_metrics(probe, dev, inputs, settings)[0] | strength


def _dev_metrics(
    probe: Probe, dev: Float[Tensor, "dev width"], inputs: Inputs, settings: Settings
) -> tuple[dict[str, float], float]:
    """Metrics of the probe's scores of dev, and the threshold that was chosen there."""
    scores = probe.predict_proba(dev).cpu().numpy()
    labels = inputs.dev_labels.to_multi_hot(torch.bool).numpy()
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
    encoder: nn.Module, inputs: Inputs, settings: Settings, job: Job, device: torch.device
) -> dict[str, float]:
    """Fit the probe once more and score the test inputs into the job's folder; their labels are not known here.

    Rank 0 writes ``test_scores.npz`` (rows, scores) and the encoder.

    Returns:
        Dev metrics, dev's threshold and the probe's strength; empty on ranks other than 0.
    """
    probe = _fit(encoder, inputs, settings, job.seed, device)
    dev = embed(encoder, inputs.dev_rows, inputs, device, settings.train.precision)
    test = embed(encoder, inputs.test_rows, inputs, device, settings.train.precision)
    if probe is None:
        return {}
    metrics, threshold = _dev_metrics(probe, dev, inputs, settings)
    folder = Path(job.folder)
    save_scores(folder / SCORES_FILE, inputs.test_rows, probe.predict_proba(test).cpu().numpy())
    encoder.save_pretrained(folder / ENCODER_FOLDER)  # type: ignore[operator]
    return {**metrics, "dev/threshold": threshold, "probe/l2": float(probe.l2)}
