"""An exported folder as a model of MLflow's, which ``mlflow.pyfunc.load_model`` loads and Hugging Face still reads.

``mlflow.pyfunc.save_model`` would put the folder one deeper and look for what its code imports by running it; the file
MLmodel says all that loading needs.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from numpy import dtype

from sdl_study.tracking import loader

MODEL_FOLDER = "model"
"""Among the artifacts of a study's parent run."""
_CODE, _LOADER = "code", "sdl_exported"
_NEEDS = ("torch", "transformers", "safetensors", "numpy", "pandas")


def make_model(folder: Path, modality: str) -> None:
    """Add to an exported folder what makes it a model of MLflow's.

    Args:
        folder: what ``export`` writes.
        modality: of its inputs: ``text``, ``image`` (paths of files) or ``features``.
    """
    (folder / _CODE).mkdir()
    shutil.copyfile(str(loader.__file__), folder / _CODE / f"{_LOADER}.py")
    needs = [*_NEEDS, *(["pillow"] if modality == "image" else [])]
    (folder / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in needs))
    inputs = TensorSpec(dtype("float64"), (-1, -1)) if modality == "features" else ColSpec("string")
    model = Model(signature=ModelSignature(Schema([inputs])))
    pyfunc.add_to_model(model, loader_module=_LOADER, code=_CODE)
    model.save(str(folder / "MLmodel"))
