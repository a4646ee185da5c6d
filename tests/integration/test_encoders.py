"""One study over encoders that read the same data in different ways: what MLflow says, and what is handed out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from sdl_study.files import read_json
from sdl_study.models import Encoder, encoder_reads
from sdl_study.models.pooling import pool_pixels, pool_tokens
from sdl_study.record.declaration import read_declaration
from sdl_study.record.finals import Final, read_finals
from sdl_study.study.jobs import JobMaker
from sdl_study.study.leftovers import Leftovers
from sdl_study.study.plan import Plan, make_plan
from sdl_study.training.checkpoint import BEST, put_back
from sdl_study.training.model import build_model
from tests.integration import families
from tests.integration.conftest import Engines
from tests.integration.handed_out import check_scores, exported, file_of_texts, scored_alone, scorer
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
    put_back(model, torch.load(final.slot.folder / BEST, weights_only=True)["model"])
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


@pytest.fixture(scope="module", autouse=True)
def checkpoints_stay() -> Iterator[None]:
    """What is handed out is compared with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Leftovers, "finals", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def go_offline(patch: pytest.MonkeyPatch) -> None:
    for constants in ("huggingface_hub.constants", "transformers.utils.hub.constants"):
        patch.setattr(f"{constants}.HF_HUB_OFFLINE", True)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)


def best_of(plan: Plan) -> set[str]:
    """Files of the encoder that went into MLflow."""
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    (parent,) = runs_of(plan, "study")
    return {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "encoder")}


@dataclass(frozen=True)
class Studied:
    """A study that has run."""

    plan: Plan
    data: PreparedData
    encoders: dict[str, dict[str, Any]]

    @property
    def name_of(self) -> dict[Path, str]:
        """Encoders by the folders that finals left them in."""
        return {final.slot.folder / "encoder": name for name, final in finals(self.plan).items()}


def studied(name: str, path: Path, encoders: dict[str, dict[str, Any]], engines: Engines) -> Studied:
    data = PreparedData.load(str(path))
    plan = make_plan(families.study_of(data.path, encoders), path.parent / "studies", name, {})
    with pytest.MonkeyPatch.context() as patch:
        go_offline(patch)
        check_study(plan, data, encoders, engines)
    return Studied(plan, data, encoders)


@pytest.fixture(scope="module")
def texts(root: Path, engines: Engines) -> Studied:
    return studied("texts", families.texts(root), families.text_models(root), engines)


@pytest.fixture(scope="module")
def images(root: Path, engines: Engines) -> Studied:
    return studied("images", families.images(root), families.image_models(root), engines)


@pytest.fixture(scope="module")
def rows(root: Path, engines: Engines) -> Studied:
    perceptrons = {"small": {"kind": "mlp", "width": 8}, "large": {"kind": "mlp", "width": 16}}
    data = PreparedData.load(str(families.features(root)))
    plan = make_plan(families.study_of(data.path, perceptrons), root / "studies", "rows", {})
    engines.run(plan, data=data)
    return Studied(plan, data, perceptrons)


@pytest.mark.usefixtures("offline")
def test_texts_for_three_tokenizers_and_adapters(texts: Studied) -> None:
    from transformers import AutoTokenizer

    plan, data, encoders = texts.plan, texts.data, texts.encoders
    words = next(data.iter_texts(len(ROWS)))

    def made(folder: Path, store: Store) -> dict[str, torch.Tensor]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        of_model = AutoTokenizer.from_pretrained(encoders[texts.name_of[folder]]["name"])
        assert tokenizer.get_vocab() == of_model.get_vocab()
        longest = {"truncation": True, "max_length": store.spec.max_length}
        encoded = tokenizer(words, padding=True, return_tensors="pt", **longest)
        fetched = store.fetch(ROWS)
        assert torch.equal(encoded["input_ids"], fetched["input_ids"])
        return {name: encoded[name] for name in fetched}

    for name in encoders:
        check_handed_out(plan, data, name, made)
    assert {"model.safetensors", "encoder.json", "tokenizer.json", "tokenizer_config.json"} <= best_of(plan)


@pytest.mark.usefixtures("offline")
def test_images_of_two_sizes_and_normalisations(images: Studied) -> None:
    from transformers import AutoImageProcessor

    plan, data, encoders = images.plan, images.data, images.encoders
    files = [Image.open(file) for file in data.image_files()[: len(ROWS)]]

    def made(folder: Path, store: Store) -> dict[str, torch.Tensor]:
        name = images.name_of[folder]
        assert encoder_reads("hub", {"name": str(folder)}) == encoder_reads(
            "hub", {"name": encoders[name]["name"]}
        )
        pixels = AutoImageProcessor.from_pretrained(folder)(files, return_tensors="pt")["pixel_values"]
        ours = store.fetch(ROWS)["pixel_values"]
        torch.testing.assert_close(pixels, ours, rtol=0, atol=PIXELS_WITHIN[name])
        return {"pixel_values": pixels}

    for name in encoders:
        check_handed_out(plan, data, name, made, EMBEDDINGS_WITHIN[name])
    assert {"model.safetensors", "encoder.json", "preprocessor_config.json"} <= best_of(plan)


def check_exported(study: Studied, name: str, inputs: Any, folder: Path) -> Path:
    """What ``export`` hands out of a final gives the study's own embeddings and scores of the test inputs."""
    plan, final = study.plan, finals(study.plan)[name]
    exported(plan.files.out, f"{plan.name}/{final.name}-0", folder)
    scores, embeddings = scorer(folder).score_and_embed(inputs)
    check_scores(final, scores)
    encoder, store = trained(plan, study.data, final)
    with torch.no_grad():
        expected = encoder(**store.fetch(study.data.rows("test")))
    np.testing.assert_allclose(embeddings, expected.numpy(), rtol=1e-4, atol=1e-5)
    return folder


@pytest.mark.usefixtures("offline")
def test_exported_texts(texts: Studied, tmp_path: Path) -> None:
    from transformers import AutoModel

    words = texts.data.texts(texts.data.rows("test"))
    for name in texts.encoders:
        folder = check_exported(texts, name, words, tmp_path / name)
        assert AutoModel.from_pretrained(folder).config.model_type == name
        assert str(texts.data.path.parent) not in "".join(file.read_text() for file in folder.glob("*.json"))
    folder, name = tmp_path / "llama", "llama"
    printed, archive = scored_alone(
        folder, file_of_texts(texts.data, tmp_path / "notes.csv"), "--column", "note"
    )
    check_scores(finals(texts.plan)[name], archive["scores"])
    threshold = read_json(folder / "export.json")["threshold"]
    codes = [label["code"] for label in read_json(folder / "labels.json")]
    above = [
        [codes[label] for label in np.flatnonzero(row > threshold)] for row in archive["scores"].astype(float)
    ]
    assert [line["labels"] for line in printed] == above
    assert len({len(labels) for labels in above}) > 1


@pytest.mark.usefixtures("offline")
def test_exported_images(images: Studied, tmp_path: Path) -> None:
    files = [images.data.image_files()[row] for row in images.data.rows("test")]
    for name in images.encoders:
        check_exported(images, name, files, tmp_path / name)
    folder = tmp_path / "resnet"
    (tmp_path / "files").mkdir()
    for number, file in enumerate(files[:5]):
        shutil.copyfile(file, tmp_path / "files" / f"{number}.png")
    printed, archive = scored_alone(folder, tmp_path / "files")
    assert [line["input"] for line in printed] == [f"{number}.png" for number in range(5)]
    np.testing.assert_allclose(archive["scores"], scorer(folder).score(files[:5]), atol=1e-6)


def test_exported_rows(rows: Studied, tmp_path: Path) -> None:
    values = rows.data.features()[rows.data.rows("test")]
    for name in rows.encoders:
        check_exported(rows, name, values, tmp_path / name)
    assert read_json(tmp_path / "small" / "export.json")["loader"] == "sdl_study"
