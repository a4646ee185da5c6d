"""The script of an exported folder gives what the encoder, its store and its head give here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sdl_study.data.images import open_image_store
from sdl_study.data.prepared import PreparedData
from sdl_study.data.tokens import open_token_store
from sdl_study.files import write_json
from sdl_study.losses import LabelSets
from sdl_study.models import Encoder, LinearHead, build_encoder
from sdl_study.models.label_attention import LabelAttention
from sdl_study.models.predict import Exported, _pixels, read_inputs
from sdl_study.training.stages.probe import fit_probe
from tests.unit.data import small

ROWS, LABELS = np.arange(60), 3
# Half precision rounds by the shape of a batch.
WITHIN = {"fp32": 1e-6, "bf16": 2e-2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("predict")
    small.write_text(home / "data")
    return home


def handed_out(
    folder: Path, encoder: Encoder, store: Any, head: str, weights: Any, precision: str = "fp32"
) -> Exported:
    """A folder with all that the script reads."""
    folder.mkdir()
    store.save_processor(folder)
    encoder.save_pretrained(folder)
    save_file({name: values.contiguous() for name, values in weights.items()}, folder / "head.safetensors")
    about = {
        "loader": "sdl_study", "pooling": encoder.pooling, "head": head, "head_file": "head.safetensors",
        "threshold": 0.5, "precision": precision,
    }  # fmt: skip
    write_json(folder / "export.json", about)
    write_json(folder / "labels.json", [{"code": str(label)} for label in range(LABELS)])
    return Exported(folder)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_texts_in_chunks(home: Path, tmp_path: Path, chunks: int, pooling: str, precision: str) -> None:
    data = PreparedData.load(home / "data")
    given = {"max_length": 6, "max_chunks": chunks, "min_count": 1}
    store = open_token_store(data, given, home / "stores")
    assert (store.fetch(ROWS)["input_ids"].ndim == 3) == (chunks > 1)
    torch.manual_seed(0)
    encoder = build_encoder("bert", {"width": 16, "heads": 2, "pooling": pooling}, store.spec).eval()
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.no_grad(), half:
        expected = encoder(**store.fetch(ROWS)).float()
    probe = fit_probe(
        expected,
        LabelSets.from_lists([[row % LABELS] for row in range(len(ROWS))], LABELS),
        scaling=("unit",),
    )
    model = handed_out(tmp_path / "out", encoder, store, "probe", probe.weights(), precision)
    scores, embeddings = model.score_and_embed(data.texts(ROWS), batch_size=7)
    np.testing.assert_allclose(embeddings, expected.numpy(), rtol=0, atol=WITHIN[precision])
    if precision == "fp32":
        np.testing.assert_allclose(scores, probe.predict_proba(expected).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunks", [1, 3])
def test_heads_that_were_fine_tuned(home: Path, tmp_path: Path, chunks: int) -> None:
    data = PreparedData.load(home / "data")
    store = open_token_store(data, {"max_length": 6, "max_chunks": chunks, "min_count": 1}, home / "stores")
    encoder = build_encoder("conv", {"width": 8}, store.spec).eval()
    linear, attention = LinearHead(8, LABELS), LabelAttention(8, LABELS)
    with torch.no_grad():
        batch = store.fetch(ROWS)
        expected = {
            "linear": linear(encoder(**batch)),
            "label_attention": attention(*encoder(**batch, as_tokens=True)),
        }
    for name, head in (("linear", linear), ("label_attention", attention)):
        model = handed_out(tmp_path / name, encoder, store, name, head.state_dict())
        found = model.score(data.texts(ROWS), batch_size=7)
        np.testing.assert_allclose(found, torch.sigmoid(expected[name]).numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cut", [{"resize": "squash"}, {"resize": "crop", "crop_pct": 0.875}])
def test_pixels_are_the_stores_bit_by_bit(tmp_path: Path, cut: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    for number in range(60):
        shape = (20 + number % 3, 30)
        values = rng.integers(0, 1 << 16, shape).astype(np.uint16) if number % 2 else None
        image = Image.fromarray(
            rng.integers(0, 256, (*shape, 3), dtype=np.uint8) if values is None else values
        )
        image.save(tmp_path / "files" / f"{number}.png")
    data = small.prepare_images(tmp_path / "data", tmp_path / "files")
    settings = {"image_size": 16, "interpolation": "bilinear", **cut}
    store = open_image_store(data, settings, tmp_path / "stores")
    how = {"interpolation": "bilinear", "crop_pct": 1.0, **cut, "image_size": 16}
    how |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    expected = store.fetch(ROWS)["pixel_values"]
    found = torch.stack([_pixels(file, how) for file in data.image_files()])
    assert torch.equal(found, expected)


def test_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,"one, two"\n2,three\n')
    (tmp_path / "a.tsv").write_text("text\tid\none, two\t1\nthree\t2\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one, two"}\n\n{"text": "three"}\n')
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert read_inputs(tmp_path / name, "text", "text") == (["0", "1"], ["one, two", "three"])
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert read_inputs(tmp_path / "rows.csv", "features", "text")[1].tolist() == [[1.0, 2.0]]
    for path, column in (("a.csv", "notes"), ("a.jsonl", "notes"), ("a.parquet", "text")):
        with pytest.raises(SystemExit, match=r"error: .*a\."):
            read_inputs(tmp_path / path, "text", column)
