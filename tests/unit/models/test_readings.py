"""How a pretrained encoder's inputs are made, as its own files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.models import encoder_reads
from tests.unit.models import published

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
BOTH = {"mean": MEAN, "std": STD}
_PATCHES: dict[str, Any] = {"image_size": 32, "patch_size": 16, "num_channels": 3}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.model(tmp_path_factory.mktemp("published") / "vit", "vit", **_PATCHES)


def read(folder: Path, **settings: Any) -> dict[str, Any]:
    return encoder_reads("hub", {"name": str(folder)} | settings)


def processed(
    vit: Path, to: Path, content: dict[str, Any] | str, name: str = "preprocessor_config.json"
) -> Path:
    """A copy of a model with a processor's file."""
    folder = published.copy(vit, to)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_texts_are_read_by_the_models_own_tokenizer(tmp_path: Path) -> None:
    folder = published.bert(tmp_path / "bert")
    own = {"tokenizer": "pretrained", "name": str(folder)}
    assert read(folder) == own
    assert read(folder, max_length=8, max_chunks=3) == own | {"max_length": 8, "max_chunks": 3}
    with pytest.raises(UserError, match=r"'image_size' of encoder 'hub': .* reads texts; leave it out"):
        read(folder, image_size=32)


def test_a_kind_without_a_reading_reads_whatever_the_store_gives() -> None:
    assert encoder_reads("conv", {}) == {}


PROCESSORS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # as ViT's, DINOv2's, ResNet-50's, ConvNeXt's at 384 and a CLIP's file have it
    "square": (
        {"size": {"height": 24, "width": 24}, "resample": 2},
        {"image_size": 24, "resize": "squash", "interpolation": "bilinear"},
    ),
    "square by one number": (
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 24, "resample": 3},
        {"image_size": 24, "resize": "squash"},
    ),
    "shorter side and centre": (
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 224}, "do_center_crop": True, "resample": 3},
        {"image_size": 224, "resize": "crop", "crop_pct": 0.875},
    ),
    "a share of it": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3},
        {"image_size": 224, "resize": "crop", "crop_pct": 0.875},
    ),
    "a large one whole": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "resample": 3},
        {"image_size": 384, "resize": "squash"},
    ),
    "all of the centre": (
        {"size": {"shortest_edge": 30}, "crop_size": 30, "do_center_crop": True, "resample": 1},
        {"image_size": 30, "resize": "crop", "interpolation": "lanczos"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_made_as_the_models_processor_makes_them(name: str, vit: Path, tmp_path: Path) -> None:
    content, expected = PROCESSORS[name]
    folder = processed(vit, tmp_path / "vit", content | {"image_mean": MEAN, "image_std": STD})
    assert read(folder) == expected | BOTH
    assert read(folder, image_size=16) == expected | BOTH | {"image_size": 16}


def test_a_processor_inside_another_file(vit: Path, tmp_path: Path) -> None:
    inner = {"size": {"height": 24, "width": 24}, "resample": 3, "image_mean": MEAN, "image_std": STD}
    folder = processed(vit, tmp_path / "vit", {"image_processor": inner}, "processor_config.json")
    assert read(folder) == {"image_size": 24, "resize": "squash"} | BOTH


def test_another_scale_of_the_pixels(vit: Path, tmp_path: Path) -> None:
    """(p · f − m) / s of a byte p, as the store's (p / 255 − mean) / std."""
    same = {"size": 32, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    cases = {
        "bytes": ({"do_rescale": False}, lambda p: (p - 0.5) / 0.25),
        "half": ({"rescale_factor": 1 / 127.5}, lambda p: (p / 127.5 - 0.5) / 0.25),
        "signed": ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, lambda p: (p / 127.5 - 1.5) / 0.25),
        "bare": ({"do_normalize": False}, lambda p: p / 255),
    }
    for name, (changes, theirs) in cases.items():
        found = read(processed(vit, tmp_path / name, same | changes))
        for pixel in (0.0, 100.0, 255.0):
            assert (pixel / 255 - found["mean"][0]) / found["std"][0] == pytest.approx(theirs(pixel)), name


def test_without_a_processor_the_configuration_tells_the_size(vit: Path, tmp_path: Path) -> None:
    assert read(vit) == {"image_size": 32}
    assert read(vit, image_size=64) == {"image_size": 64}
    resnet = published.model(
        tmp_path / "resnet", "resnet", image_size=32, hidden_sizes=[8], depths=[1], embedding_size=8
    )
    (resnet / "config.json").write_text(
        json.dumps(
            {k: v for k, v in json.loads((resnet / "config.json").read_text()).items() if k != "image_size"}
        )
    )
    assert read(resnet) == {}
    with pytest.raises(UserError, match=r"'max_length' of encoder 'hub': .* reads images; leave it out"):
        read(vit, max_length=8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "preprocessor_config.json: damaged: not a JSON object"),
        ("version https://git-lfs.github.com/spec/v1\n", "preprocessor_config.json: is a Git LFS pointer"),
        ({"image_mean": 3, "image_std": 4}, "does not say how images are prepared"),
        ({"image_mean": MEAN}, "does not say how images are prepared"),
        ({"size": "big", "image_mean": MEAN, "image_std": STD}, "does not say how images are prepared"),
        ({"resample": 0, "image_mean": MEAN, "image_std": STD}, "scales images in a way"),
    ],
)
def test_a_processor_that_does_not_do(content: Any, words: str, vit: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(processed(vit, tmp_path / "vit", content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_processor_of_the_hub_out_of_reach(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model is at hand: images would silently be prepared in another way."""
    put = published.cache(tmp_path, monkeypatch)
    snapshot = put("some/vit", vit, "*")
    with pytest.raises(UserError, match="which says how images are prepared, is out of reach"):
        encoder_reads("hub", {"name": "some/vit"})
    content = {"size": 24, "resample": 3, "image_mean": MEAN, "image_std": STD}
    (snapshot / "preprocessor_config.json").write_text(json.dumps(content))
    assert encoder_reads("hub", {"name": "some/vit"}) == {"image_size": 24, "resize": "squash"} | BOTH
