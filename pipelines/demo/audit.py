"""How hard the demo's data are: dev mAP of methods that learn no representation."""

from __future__ import annotations

from pathlib import Path

import torch

from pipelines.shared.runner import Progress
from sdl_study.data.prepared import PreparedData, Split
from sdl_study.data.stores import Store, open_store
from sdl_study.evaluation.controls import label_prior, tfidf_logistic_regression
from sdl_study.evaluation.metrics import multilabel_metrics
from sdl_study.models import Encoder, build_encoder
from sdl_study.training.stages.probe import fit_probe

_BATCH = 256
_SEED = 0

# The smaller encoder of each demo study, and the store it reads from.
_ENCODERS = {
    "demo_mimic": ("conv", {"width": 64, "kernel": 5}, {"max_length": 64}),
    "demo_coco": ("resnet", {"widths": (16, 32, 64, 128), "groups": 8}, {"image_size": 32}),
}


def audit(data: Path, name: str, cache_dir: Path, progress: Progress) -> dict[str, float]:
    """Dev mAP of the label prior, TF-IDF + logistic regression (texts) and an untrained encoder + probe.

    Args:
        data: prepared data set ``name``, "demo_mimic" or "demo_coco".
        cache_dir: where the token or image store goes.
    """
    prepared = PreparedData.load(data)
    train, dev = prepared.labels("train"), prepared.labels("dev")
    scores = {"label prior": label_prior(train, dev, test_count=0).dev}
    if prepared.manifest.modality == "text":
        train_texts, dev_texts = (prepared.texts(prepared.rows(split)) for split in ("train", "dev"))
        # The control also scores test inputs; there are none in an audit, so it gets dev's first again.
        texts = (train_texts, dev_texts, dev_texts[:1])
        scores["TF-IDF + logistic regression"] = tfidf_logistic_regression(texts, train, dev).dev
    kind, settings, store_settings = _ENCODERS[name]
    store = open_store(prepared, store_settings, cache_dir)
    torch.manual_seed(_SEED)
    encoder = build_encoder(kind, settings, store.spec)
    probe = fit_probe(_embed(encoder, store, prepared, "train"), train)
    scores["untrained encoder + probe"] = probe.predict_proba(_embed(encoder, store, prepared, "dev")).numpy()
    found = {
        method: multilabel_metrics(values, dev, threshold=0.5)["map"] for method, values in scores.items()
    }
    for method, value in found.items():
        progress(f"{name}: {method:<30} dev mAP {value:.3f}")
    return found


def _embed(encoder: Encoder, store: Store, prepared: PreparedData, split: Split) -> torch.Tensor:
    rows = prepared.rows(split)
    encoder.eval()
    with torch.inference_mode():
        parts = [encoder(**store.fetch(rows[i : i + _BATCH])) for i in range(0, len(rows), _BATCH)]
    return torch.cat(parts).clone()
