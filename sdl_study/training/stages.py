"""What is done with an encoder after training: embed, fit the linear probe, score dev and test inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from sdl_study import distributed
from sdl_study.config import Settings
from sdl_study.evaluation import multilabel_metrics, tune_threshold
from sdl_study.seeds import derive_seed
from sdl_study.training.batches import Inputs
from sdl_study.training.probe import Probe, fit_probe
from sdl_study.evaluation.scores import SCORES_FILE, save_scores
from sdl_study.workers.job import Job

_ROWS_AT_ONCE = 256
DEV_KEYS = ("micro_f1", "macro_f1", "map", "map_document")
ENCODER_FOLDER = "encoder"


@torch.no_grad()
def embed(encoder: nn.Module, rows: np.ndarray, inputs: Inputs, device: torch.device) -> torch.Tensor:
    """Embeddings of some rows, [n, width] float32 on every rank; each rank encodes its share."""
    was_training = encoder.training
    encoder.eval()
    share = np.array_split(rows, distributed.world_size())[distributed.rank()]
    width = int(getattr(encoder, "width"))  # noqa: B009 (an nn.Module's attributes are not typed)
    local = torch.empty(len(share), width, device=device)
    order = inputs.by_length(share)
    for start in range(0, len(share), _ROWS_AT_ONCE):
        places = order[start : start + _ROWS_AT_ONCE]
        local[torch.from_numpy(places).to(device)] = encoder(**inputs.fetch(share[places], device)).float()
    encoder.train(was_training)
    return distributed.all_gather_rows(local)


def _fit(
    encoder: nn.Module, inputs: Inputs, settings: Settings, seed: int, device: torch.device
) -> Probe | None:
    """The probe on train's embeddings, on rank 0; None elsewhere."""
    embeddings = embed(encoder, inputs.train_rows, inputs, device)
    if distributed.rank() != 0:
        return None
    seed = derive_seed(seed, "probe")
    return fit_probe(embeddings, inputs.train_labels, l2_grid=settings.probe.l2_grid, seed=seed)


def dev_metrics(
    encoder: nn.Module, inputs: Inputs, settings: Settings, seed: int, device: torch.device
) -> dict[str, float]:
    """Dev metrics of a probe on the frozen encoder; empty on ranks other than 0."""
    probe = _fit(encoder, inputs, settings, seed, device)
    dev = embed(encoder, inputs.dev_rows, inputs, device)
    return {} if probe is None else _dev_metrics(probe, dev, inputs)[0]


def _dev_metrics(probe: Probe, dev: torch.Tensor, inputs: Inputs) -> tuple[dict[str, float], float]:
    scores = probe.predict_proba(dev).cpu().numpy()
    labels = inputs.dev_labels.to_multi_hot(torch.bool).numpy()
    threshold = float(tune_threshold(scores, labels))
    metrics = multilabel_metrics(scores, labels, threshold=threshold, universe="all")
    return {f"dev/{key}": float(metrics[key]) for key in DEV_KEYS}, threshold


def last_stage(
    encoder: nn.Module, inputs: Inputs, settings: Settings, job: Job, device: torch.device
) -> dict[str, float]:
    """Fit the probe once more and score the test inputs into the job's folder; their labels are not known here.

    Rank 0 writes ``test_scores.npz`` (rows, scores) and the encoder; returns dev metrics and dev's threshold.
    """
    probe = _fit(encoder, inputs, settings, job.seed, device)
    dev = embed(encoder, inputs.dev_rows, inputs, device)
    test = embed(encoder, inputs.test_rows, inputs, device)
    if probe is None:
        return {}
    metrics, threshold = _dev_metrics(probe, dev, inputs)
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_scores(folder / SCORES_FILE, inputs.test_rows, probe.predict_proba(test).cpu().numpy())
    encoder.save_pretrained(folder / ENCODER_FOLDER)  # type: ignore[operator]
    return {**metrics, "dev/threshold": threshold, "probe/l2": float(probe.l2)}
