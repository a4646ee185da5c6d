"""What a store writes into an encoder's folder: the tokenizer or image processor that makes its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdl_study.data.hidden import open_hidden_store
from sdl_study.data.images import open_image_store
from sdl_study.data.prepared import PreparedData
from sdl_study.data.tokens import open_token_store
from tests.unit.data import small

ROWS = np.arange(20)


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_the_tokenizer_of_a_frozen_encoders_texts(tokenizer: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    small.write_text(tmp_path / "data")
    data = PreparedData.load(tmp_path / "data")
    tokens = open_token_store(data, {"tokenizer": tokenizer, "min_count": 1}, tmp_path / "stores")
    lower = lambda batch: {"embedding": batch["input_ids"].float()[:, :1]}  # noqa: E731
    hidden = open_hidden_store(tokens, "abc", lower, tmp_path / "stores")
    assert hidden is not None
    (tmp_path / "encoder").mkdir()
    hidden.save_processor(tmp_path / "encoder")
    read = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    made = read(next(data.iter_texts(len(ROWS))), padding=True, return_tensors="pt")
    assert torch.equal(made["input_ids"], tokens.fetch(ROWS)["input_ids"])
    assert torch.equal(made["attention_mask"], tokens.fetch(ROWS)["attention_mask"])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("cut", [{"resize": "squash"}, {"resize": "crop", "crop_pct": 0.875}])
def test_the_processor_of_images(interpolation: str, cut: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    for number in range(60):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / "files" / f"{number}.png")
    data = small.prepare_images(tmp_path / "data", tmp_path / "files")
    settings = {"image_size": 28, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    store = open_image_store(data, settings | cut | {"interpolation": interpolation}, tmp_path / "stores")
    (tmp_path / "encoder").mkdir()
    store.save_processor(tmp_path / "encoder")
    read = AutoImageProcessor.from_pretrained(tmp_path / "encoder")
    files = [Image.open(file) for file in data.image_files()[: len(ROWS)]]
    made = read(files, return_tensors="pt")["pixel_values"]
    within = 1e-5 if cut["resize"] == "squash" else 3 / 255 / 0.4  # rounded before the cut, or after it
    torch.testing.assert_close(made, store.fetch(ROWS)["pixel_values"], rtol=0, atol=within)
