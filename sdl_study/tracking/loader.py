"""How MLflow loads a registered model of SDL Study; a copy of this file lies in the model's folder, under ``code``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class Scorer:
    """What MLflow asks for predictions: probabilities of every label.

    Args:
        exported: ``predict.Exported`` of the model's folder.
    """

    def __init__(self, exported: Any) -> None:
        self._exported = exported

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Probabilities [n, L], a column a label under its code.

        Args:
            model_input: texts or paths of images (of a table its first column), or rows of numbers.
            params: none are known.
        """
        values = model_input.to_numpy() if hasattr(model_input, "to_numpy") else np.asarray(model_input)
        if self._exported.modality != "features":
            values = values.reshape(len(values), -1)[:, 0].tolist()
        return pd.DataFrame(self._exported.score(values), columns=self._exported.labels)


def _load_pyfunc(path: str) -> Scorer:
    """The model in a folder; MLflow calls it by this name."""
    spec = importlib.util.spec_from_file_location("sdl_exported_predict", Path(path) / "predict.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: has no predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Scorer(module.Exported(path))
