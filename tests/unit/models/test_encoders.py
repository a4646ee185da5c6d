"""Encoders: shapes, padding, normalisation, saving, and every way to ask for the wrong thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.models import InputSpec, build_encoder, load_encoder
from sdl_study.models.pooling import pool_tokens

TEXT = InputSpec.text(vocab_size=50, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=1, image_size=32)
FEATURES = InputSpec.features(width=6)

CASES: list[tuple[str, dict[str, Any], InputSpec, int]] = [
    ("conv", {"width": 16, "layers": 2}, TEXT, 16),
    ("bert", {"width": 16, "heads": 2}, TEXT, 16),
    ("resnet", {"widths": "8-16", "depths": "1-1"}, IMAGE, 16),
    (
        "resnet",
        {"widths": "8-16", "depths": "1-2", "norm": "sync", "block": "bottleneck", "stem": "cifar"},
        IMAGE,
        16,
    ),
    ("mlp", {"width": 16}, FEATURES, 16),
]


def inputs(spec: InputSpec, rows: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    if spec.modality == "image":
        return {
            "pixel_values": torch.randn(
                rows, spec.channels, spec.image_size, spec.image_size, generator=generator
            )
        }
    if spec.modality == "features":
        return {"features": torch.randn(rows, spec.width, generator=generator)}
    ids = torch.randint(1, spec.vocab_size, (rows, spec.max_length), generator=generator)
    lengths = torch.arange(rows).clamp(max=spec.max_length - 1) + 1
    mask = (torch.arange(spec.max_length) < lengths.unsqueeze(1)).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def make(kind: str, settings: dict[str, Any], spec: InputSpec) -> Any:
    torch.manual_seed(0)
    return build_encoder(kind, settings, spec)


@pytest.mark.parametrize(("kind", "settings", "spec", "width"), CASES)
def test_shape_gradient_and_saving(
    kind: str, settings: dict[str, Any], spec: InputSpec, width: int, tmp_path: Path
) -> None:
    encoder = make(kind, settings, spec)
    output = encoder(**inputs(spec))
    assert encoder.width == width
    assert output.shape == (4, width)
    output.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())

    encoder.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "encoder.json"}
    state = torch.random.get_rng_state()
    loaded = load_encoder(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(loaded.eval()(**inputs(spec)), encoder.eval()(**inputs(spec)))


@pytest.mark.parametrize(("kind", "settings", "spec", "width"), CASES)
def test_transformers_reads_the_folder(
    kind: str, settings: dict[str, Any], spec: InputSpec, width: int, tmp_path: Path
) -> None:
    from transformers import AutoModel

    encoder = make(kind, settings, spec)
    encoder(**inputs(spec))  # running statistics that differ from the initial ones
    encoder.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).state_dict()
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(loaded[name], value), name


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["conv", "bert"])
def test_padding_does_not_count(kind: str, pooling: str) -> None:
    encoder = make(kind, {"width": 16, "pooling": pooling, "dropout": 0.0}, TEXT).eval()
    batch = inputs(TEXT)
    whole = encoder(**batch)
    assert (encoder.backbone.config.pad_token_id or 0) == 0
    garbage = torch.where(batch["attention_mask"].bool(), batch["input_ids"], 7)
    torch.testing.assert_close(encoder(input_ids=garbage, attention_mask=batch["attention_mask"]), whole)
    for row in range(4):
        alone = encoder(
            input_ids=batch["input_ids"][row : row + 1, : row + 1],
            attention_mask=torch.ones(1, row + 1).long(),
        )
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-5, atol=1e-6)


def test_an_empty_text_is_the_zero_vector_and_chunks_are_pooled_together() -> None:
    encoder = make("conv", {"width": 16}, TEXT).eval()
    ids = torch.randint(1, 50, (2, 3, 12))
    mask = torch.ones_like(ids)
    mask[0, 2] = 0
    output = encoder(input_ids=ids, attention_mask=mask)
    parts = encoder(input_ids=ids[0, :2], attention_mask=mask[0, :2])
    torch.testing.assert_close(output[0], parts.mean(dim=0))
    nothing = encoder(input_ids=ids[:, 0], attention_mask=torch.zeros(2, 12).long())
    assert torch.equal(nothing, torch.zeros(2, 16))


def test_pooling_picks_what_it_says() -> None:
    hidden = torch.arange(12.0).reshape(1, 4, 3)
    mask = torch.tensor([[0, 1, 1, 0]])
    assert torch.equal(pool_tokens(hidden, mask, "cls")[0], hidden[0, 1])
    assert torch.equal(pool_tokens(hidden, mask, "last")[0], hidden[0, 2])
    assert torch.equal(pool_tokens(hidden, mask, "mean")[0], hidden[0, 1:3].mean(dim=0))
    with pytest.raises(ValueError, match="mean, cls, last"):
        pool_tokens(hidden, mask, "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mask"):
        pool_tokens(hidden, mask[:, :2], "mean")


BAD: list[tuple[str, dict[str, Any], InputSpec, str]] = [
    ("cnn", {}, TEXT, "unknown encoder 'cnn'; choose from bert, conv, efficientnet, hub, mlp, resnet"),
    ("conv", {"widht": 3}, TEXT, "'conv' has no setting 'widht'; choose from dropout, kernel"),
    ("conv", {"width": 0}, TEXT, "'width'.*greater than or equal to 1, not 0"),
    ("conv", {"kernel": 4}, TEXT, "kernel must be odd"),
    ("conv", {"dropout": 1.0}, TEXT, "'dropout'.*less than 1"),
    ("conv", {"pooling": "max"}, TEXT, "'pooling'.*'mean', 'cls' or 'last', not 'max'"),
    ("bert", {"width": 30, "heads": 4}, TEXT, "width 30 is not a multiple of heads 4"),
    ("resnet", {"widths": "16-a"}, IMAGE, "'widths'.*integer, not 'a'"),
    ("resnet", {"widths": "16-32"}, IMAGE, "widths names 2 stages and depths 4"),
    ("resnet", {"norm": "batch"}, IMAGE, "'norm'.*'group', 'sync' or 'frozen', not 'batch'"),
    ("hub", {}, TEXT, "'hub' needs the setting 'name'"),
    ("conv", {}, IMAGE, "'conv' reads text, the data set holds image"),
    ("mlp", {}, TEXT, "'mlp' reads features, the data set holds text"),
]


@pytest.mark.parametrize(("kind", "settings", "spec", "words"), BAD)
def test_mistakes_are_named(kind: str, settings: dict[str, Any], spec: InputSpec, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_encoder(kind, settings, spec)


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no readable encoder"):
        load_encoder(tmp_path)
    make("conv", {"width": 8}, TEXT).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="no readable encoder"):
        load_encoder(tmp_path)


def test_specs_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="max_length"):
        InputSpec.text(vocab_size=5, pad_token_id=0, max_length=0)
    with pytest.raises(ValueError, match="pad_token_id 5"):
        InputSpec.text(vocab_size=5, pad_token_id=5, max_length=3)
    with pytest.raises(ValueError, match="text, image, features"):
        InputSpec("audio")  # type: ignore[arg-type]
    assert InputSpec(**IMAGE.to_dict()) == IMAGE  # type: ignore[arg-type]
