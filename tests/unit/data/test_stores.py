"""Token, image and feature stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdl_study.data.features import open_feature_store
from sdl_study.data.images import open_image_store
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
from tests.unit.data import small


def test_images_squashed_and_normalised(tmp_path: Path) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    settings = {"image_size": 8, "mean": [0.5, 0.0, 0.0], "std": [0.25, 1.0, 1.0]}
    store = open_image_store(prepared, settings, tmp_path / "stores")
    values = store.fetch(np.array([51, 0]))["pixel_values"]
    assert values.shape == (2, 3, 8, 8)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[0, 0], torch.full((8, 8), (51 / 255 - 0.5) / 0.25))
    assert (store.spec.channels, store.spec.image_size) == (3, 8)


def test_crop_keeps_the_centre_and_squash_the_whole(tmp_path: Path) -> None:
    small.write_images(tmp_path / "first", tmp_path / "images", size=(24, 8))
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 255
    Image.fromarray(pixels).save(tmp_path / "images" / "0.png")
    prepared = small.prepare_images(tmp_path / "out", tmp_path / "images")
    plain = {"image_size": 8, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    crop = open_image_store(prepared, {**plain, "resize": "crop"}, tmp_path / "stores").fetch(np.array([0]))
    squash = open_image_store(prepared, plain, tmp_path / "stores").fetch(np.array([0]))
    assert crop["pixel_values"].min() == 1
    assert 0.2 < squash["pixel_values"].mean() < 0.5


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    (tmp_path / "images" / "7.png").unlink()
    with pytest.raises(UserError, match=r"7\.png: image cannot be read"):
        open_image_store(prepared, {"image_size": 8}, tmp_path / "stores")


def test_features_are_standardised_by_train(tmp_path: Path) -> None:
    prepared = small.write_features(tmp_path / "out")
    store = open_feature_store(prepared, {}, tmp_path / "stores")
    train = store.fetch(prepared.rows("train"))["features"].double()
    torch.testing.assert_close(train.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)  # the third feature is constant
    torch.testing.assert_close(train.std(0, correction=0), expected, atol=1e-6, rtol=0)
    raw = open_feature_store(prepared, {"standardise": False}, tmp_path / "stores")
    np.testing.assert_array_equal(raw.fetch(np.arange(60))["features"], prepared.features())
    assert store.spec.width == 3


def test_open_store_goes_by_the_modality(tmp_path: Path) -> None:
    small.write_text(tmp_path / "t")
    stores = tmp_path / "stores"
    assert open_store(PreparedData.load(tmp_path / "t"), {}, stores).spec.modality == "text"
    images = small.write_images(tmp_path / "i", tmp_path / "images")
    assert open_store(images, {"image_size": 8}, stores).spec.modality == "image"
    assert open_store(small.write_features(tmp_path / "f"), {}, stores).spec.modality == "features"


@pytest.mark.parametrize(
    ("modality", "settings", "message"),
    [
        ("text", {"tokeniser": "word"}, "data.store.tokeniser: unknown; known are tokenizer, name"),
        ("text", {"tokenizer": "sentencepiece"}, "choose from word, bpe, pretrained"),
        ("text", {"max_length": 2}, "data.store.max_length: 2 is too small; at least 4"),
        ("text", {"max_length": "64"}, "data.store.max_length: '64' is not of type int"),
        ("text", {"max_chunks": True}, "not of type int"),
        ("text", {"tokenizer": "pretrained"}, "data.store.name: give it with tokenizer 'pretrained'"),
        ("text", {"tokenizer": "bpe", "vocab_size": 100}, "too small for bytes"),
        ("image", {"image_size": 0}, "data.store.image_size: 0 is too small"),
        ("image", {"resize": "stretch"}, "choose from squash, crop"),
        ("image", {"std": [1.0, 0.0, 1.0]}, "data.store.std: must be above 0"),
        ("image", {"mean": [1.0]}, "three numbers"),
        ("features", {"standardise": 1}, "not of type bool"),
    ],
)
def test_unusable_settings(tmp_path: Path, modality: str, settings: dict[str, Any], message: str) -> None:
    if modality == "text":
        small.write_text(tmp_path / "out")
        prepared = PreparedData.load(tmp_path / "out")
    elif modality == "image":
        prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    else:
        prepared = small.write_features(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        open_store(prepared, settings, tmp_path / "stores")
