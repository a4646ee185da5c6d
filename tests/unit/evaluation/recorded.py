"""Inputs whose metrics are recorded in ``recorded.json``; run as a module, it records them anew.

    python -m tests.unit.evaluation.recorded

What a study prints must not change by a bit when the code is moved; record anew only where a definition changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sdl_study.evaluation import multilabel_metrics

FILE = Path(__file__).with_name("recorded.json")


def inputs() -> dict[str, tuple[np.ndarray, np.ndarray, dict[str, Any]]]:
    """Scores, labels and options by the name of the case."""
    generator = np.random.default_rng(20)
    truth = generator.random((61, 19)) < np.linspace(0.5, 0.02, 19)
    truth[:, [4, 11]] = False
    truth[:, 6] = True
    truth[:9] = False
    scores = np.clip(0.3 * truth + 0.7 * generator.random(truth.shape), 0, 1)
    limits = np.linspace(0.2, 0.7, 19)
    single, plain = scores.astype(np.float32), {"threshold": 0.4}
    return {
        "float64": (scores, truth, plain),
        "float32": (single, truth, plain),
        "ties": (np.round(scores, 1), truth, plain),
        "ties, float32": (np.round(single, 1), truth, plain),
        "two values": ((single > 0.5).astype(np.float32), truth, plain),
        "thresholds by label": (single, truth, {"threshold": limits}),
        "labels present": (single, truth, {"threshold": limits, "universe": "present"}),
        "other cut-offs": (np.round(scores, 2), truth, {"threshold": 0.3, "ks": (1, 3, 7, 40)}),
        "no label at all": (scores, np.zeros_like(truth), plain),
        "every label": (scores, np.ones_like(truth), plain),
        "nothing predicted": (scores * 0.1, truth, plain),
        "one document": (scores[20:21], truth[20:21], plain),
        "one label": (scores[:, :1], truth[:, :1], plain),
    }


def values() -> dict[str, dict[str, float | None]]:
    """Every metric of every case; null where it is undefined."""
    found = {}
    for name, (scores, truth, options) in inputs().items():
        metrics = multilabel_metrics(scores, truth, **options)
        found[name] = {key: None if np.isnan(value) else value for key, value in metrics.items()}
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(values(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
