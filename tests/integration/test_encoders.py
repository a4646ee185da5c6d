"""One study over encoders that read the same data in different ways: what MLflow says, and what is handed out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from sdl_study.arms import Arm
from sdl_study.config import build_settings
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import Store, open_store
from sdl_study.models import Encoder, encoder_reads
from sdl_study.models.pooling import pool_pixels, pool_tokens
from sdl_study.record.declaration import read_declaration
from sdl_study.record.finals import Final, read_finals
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan, make_plan
from sdl_study.training.checkpoint import BEST
from sdl_study.training.model import build_model
from tests.integration import families
from tests.integration.conftest import Engines
from tests.integration.tracked import runs_of

ROWS = np.arange(12)
# A cut image is scaled before the cut by transformers and after it by the store: two levels of a pixel apart.
PIXELS_WITHIN, EMBEDDINGS_WITHIN = {"vit": 1e-5, "resnet": 0.04}, {"vit": 1e-5, "resnet": 1e-2}


def finals(plan: Plan) -> dict[str, Final]:
    """By the encoder that each was trained with."""
    declaration = read_declaration(plan.files)
    assert declaration is not None
    return {
        str(final.slot.parameters["model.encoder"]): final for final in read_finals(plan.files, declaration)
    }


def trained(plan: Plan, data: PreparedData, final: Final) -> tuple[Encoder, Store]:
    """The encoder as it was when its test inputs were scored, from its checkpoint, and what it read."""
    job = JobMaker(plan, data.path).final(final.slot).job
    settings = build_settings(job.settings, "test")
    store = open_store(data, settings.data.store, plan.files.stores)
    model = build_model(Arm(**job.arm), job.seed, settings, store.spec, data.manifest.num_labels)
    model.load_state_dict(torch.load(final.slot.folder / BEST, weights_only=True)["model"])
    encoder = model.eval().encoder
    assert isinstance(encoder, Encoder)
    return encoder, store


def check_study(plan: Plan, data: PreparedData, encoders: Mapping[str, Any], engines: Engines) -> None:
    """Run it, and see every encoder in a trial and a final, each with a store of its own."""
    engines.run(plan, data=data)
    of_trials = {run.data.params["arm"]: run.data.params["model.encoder"] for run in runs_of(plan, "trial")}
    assert of_trials == dict(zip(plan.arm_names, encoders, strict=True))
    of_finals = {run.data.params["arm"]: run.data.params["model.encoder"] for run in runs_of(plan, "final")}
    assert of_finals == of_trials
    stores = {trained(plan, data, final)[1].path for final in finals(plan).values()}
    assert len(stores) == len(encoders)


def check_handed_out(
    plan: Plan,
    data: PreparedData,
    name: str,
    made: Callable[[Path, Store], dict[str, torch.Tensor]],
    within: float = 1e-5,
) -> None:
    """What stands in a final's folder is all that is needed to get the study's own embeddings.

    Args:
        made: gives the model's inputs of some rows by what lies in a folder.
        within: how far apart the embeddings may lie.
    """
    from transformers import AutoModel

    final = finals(plan)[name]
    folder = final.slot.folder / "encoder"
    encoder, store = trained(plan, data, final)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = made(folder, store)
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
        if hidden.ndim == 4:
            found = pool_pixels(hidden)
        else:
            masked = {"attention_mask": hidden.new_ones(hidden.shape[:2], dtype=torch.long)} | inputs
            found = pool_tokens(hidden, masked["attention_mask"], encoder.pooling)
        expected = encoder(**store.fetch(ROWS))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=within)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for constants in ("huggingface_hub.constants", "transformers.utils.hub.constants"):
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", True)


def best_of(plan: Plan) -> set[str]:
    """Files of the encoder that went into MLflow."""
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    (parent,) = runs_of(plan, "study")
    return {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "encoder")}


@pytest.mark.usefixtures("offline")
def test_texts_for_three_tokenizers_and_adapters(root: Path, engines: Engines) -> None:
    from transformers import AutoTokenizer

    data = PreparedData.load(str(families.texts(root)))
    encoders = families.text_models(root)
    plan = make_plan(families.study_of(data.path, encoders), root / "studies", "texts", {})
    check_study(plan, data, encoders, engines)
    texts = next(data.iter_texts(len(ROWS)))

    def made(folder: Path, store: Store) -> dict[str, torch.Tensor]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        of_model = AutoTokenizer.from_pretrained(encoders[folder_of[folder]]["name"])
        assert tokenizer.get_vocab() == of_model.get_vocab()
        longest = {"truncation": True, "max_length": store.spec.max_length}
        encoded = tokenizer(texts, padding=True, return_tensors="pt", **longest)
        fetched = store.fetch(ROWS)
        assert torch.equal(encoded["input_ids"], fetched["input_ids"])
        return {name: encoded[name] for name in fetched}

    folder_of = {final.slot.folder / "encoder": name for name, final in finals(plan).items()}
    for name in encoders:
        check_handed_out(plan, data, name, made)
    assert {"model.safetensors", "encoder.json", "tokenizer.json", "tokenizer_config.json"} <= best_of(plan)


@pytest.mark.usefixtures("offline")
def test_images_of_two_sizes_and_normalisations(root: Path, engines: Engines) -> None:
    from transformers import AutoImageProcessor

    data = PreparedData.load(str(families.images(root)))
    encoders = families.image_models(root)
    plan = make_plan(families.study_of(data.path, encoders), root / "studies", "images", {})
    check_study(plan, data, encoders, engines)
    files = [Image.open(file) for file in data.image_files()[: len(ROWS)]]

    def made(folder: Path, store: Store) -> dict[str, torch.Tensor]:
        name = folder_of[folder]
        assert encoder_reads("hub", {"name": str(folder)}) == encoder_reads(
            "hub", {"name": encoders[name]["name"]}
        )
        pixels = AutoImageProcessor.from_pretrained(folder)(files, return_tensors="pt")["pixel_values"]
        ours = store.fetch(ROWS)["pixel_values"]
        torch.testing.assert_close(pixels, ours, rtol=0, atol=PIXELS_WITHIN[name])
        return {"pixel_values": pixels}

    folder_of = {final.slot.folder / "encoder": name for name, final in finals(plan).items()}
    for name in encoders:
        check_handed_out(plan, data, name, made, EMBEDDINGS_WITHIN[name])
    assert {"model.safetensors", "encoder.json", "preprocessor_config.json"} <= best_of(plan)
