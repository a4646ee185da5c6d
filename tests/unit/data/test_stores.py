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
from sdl_study.data.stores import check_store_settings, open_store
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


def test_crop_pct_is_the_side_of_the_square_at_the_centre(tmp_path: Path) -> None:
    small.write_images(tmp_path / "first", tmp_path / "images", size=(40, 20))
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[5:15, 15:25] = 255
    Image.fromarray(pixels).save(tmp_path / "images" / "0.png")
    prepared = small.prepare_images(tmp_path / "out", tmp_path / "images")
    settings = {"image_size": 10, "resize": "crop", "crop_pct": 0.5}
    store = open_image_store(prepared, settings, tmp_path / "stores")
    assert (store.pixels(np.array([0])) == 255).all()
    whole = open_image_store(prepared, {**settings, "crop_pct": 1}, tmp_path / "stores")
    assert 0.2 < (whole.pixels(np.array([0])) > 127).float().mean() < 0.4


def test_interpolation_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    small.write_images(tmp_path / "first", tmp_path / "images", size=(24, 8))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 24, 3), dtype=np.uint8))
    noise.save(tmp_path / "images" / "0.png")
    prepared = small.prepare_images(tmp_path / "out", tmp_path / "images")
    names = {None: "BICUBIC", "bicubic": "BICUBIC", "bilinear": "BILINEAR", "lanczos": "LANCZOS"}
    for name, of_pillow in names.items():
        settings = {"image_size": 16} | ({"interpolation": name} if name else {})
        found = open_image_store(prepared, settings, tmp_path / "stores").pixels(np.array([0]))[0]
        expected = np.asarray(noise.resize((16, 16), Image.Resampling[of_pillow]))
        np.testing.assert_array_equal(found.permute(1, 2, 0), expected)


def test_normalised_pixels_are_what_is_fetched(tmp_path: Path) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    store, rows = open_image_store(prepared, {"image_size": 8}, tmp_path / "stores"), np.array([3, 1])
    pixels = store.pixels(rows)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 8, 8), torch.uint8)
    assert torch.equal(store.normalise(pixels.float()), store.fetch(rows)["pixel_values"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interpolation": "cubic"}, "'cubic' is unknown; choose from bilinear, bicubic, lanczos"),
        ({"resize": "crop", "crop_pct": 0.0}, "crop_pct: 0.0 is no share above 0 and up to 1"),
        ({"resize": "crop", "crop_pct": 87.5}, "crop_pct: 87.5 is no share"),
        ({"resize": "crop", "crop_pct": "0.9"}, "crop_pct: '0.9' is not of type"),
        ({"crop_pct": 0.9}, "crop_pct: counts only with resize crop"),
    ],
)
def test_how_images_are_scaled_is_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_store_settings("image", settings)


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
