"""Pretrained encoders: the weights that are read, batch normalisation, freezing, what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.models import InputSpec, build_encoder, load_encoder
from sdl_study.testing.encoder_contract import example_inputs as inputs
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=50, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=1, image_size=32)


def make(kind: str, settings: dict[str, Any], spec: InputSpec) -> Any:
    torch.manual_seed(0)
    return build_encoder(kind, settings, spec)


@pytest.fixture(scope="module")
def saved_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    make("bert", {"width": 16, "heads": 2}, TEXT).backbone.save_pretrained(folder)
    return folder


def test_hub_reads_a_folder_and_freezing_freezes(saved_bert: Path, tmp_path: Path) -> None:
    reference = make("bert", {"width": 16, "heads": 2}, TEXT).eval()
    encoder = make("hub", {"name": str(saved_bert), "freeze": True}, TEXT).train()
    output = encoder(**inputs(TEXT))
    torch.testing.assert_close(output, reference(**inputs(TEXT)))
    assert not output.requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(load_encoder(tmp_path)(**inputs(TEXT)), output)
    assert make("hub", {"name": str(saved_bert)}, TEXT)(**inputs(TEXT)).requires_grad


@pytest.mark.parametrize("norm", ["sync", "frozen"])
def test_hub_replaces_batch_norm_of_a_pretrained_resnet(norm: str, tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    plain = ResNetModel(config)
    plain(**inputs(IMAGE))  # running statistics that differ from the initial ones
    plain.eval().save_pretrained(tmp_path / "plain")
    encoder = make("hub", {"name": str(tmp_path / "plain"), "norm": norm}, IMAGE)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    expected = plain(**inputs(IMAGE)).pooler_output.flatten(1)
    torch.testing.assert_close(encoder.eval()(**inputs(IMAGE)), expected, rtol=1e-5, atol=1e-6)
    encoder.save_pretrained(tmp_path / "again")
    torch.testing.assert_close(
        load_encoder(tmp_path / "again").eval()(**inputs(IMAGE)), expected, rtol=1e-5, atol=1e-6
    )


def hub_models() -> dict[str, tuple[dict[str, Any], InputSpec]]:
    text = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "pad_token_id": 0, "max_position_embeddings": 12}
    image = {"image_size": 32, "patch_size": 16, "num_channels": 1, "hidden_size": 16}
    image |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {
        "bert": (text, TEXT),
        "roberta": (text | {"max_position_embeddings": 13}, TEXT),
        "llama": (text | {"num_key_value_heads": 2}, TEXT),
        "vit": (image, IMAGE),
        "dinov2": (image, IMAGE),
    }


@pytest.mark.parametrize("model_type", hub_models())
def test_every_trainable_parameter_of_a_hub_model_gets_a_gradient(model_type: str, tmp_path: Path) -> None:
    """A pooler or a mask token without gradient would make data-parallel training wait for ever."""
    from transformers import AutoConfig, AutoModel

    sizes, spec = hub_models()[model_type]
    AutoModel.from_config(AutoConfig.for_model(model_type, **sizes)).save_pretrained(tmp_path)
    encoder = make(
        "hub", {"name": str(tmp_path), "pooling": "last" if model_type == "llama" else "mean"}, spec
    )
    output = encoder.train()(**inputs(spec))
    assert output.shape == (4, 16)
    output.square().sum().backward()
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert len(trained) > 8
    assert all(p.grad is not None for p in trained)
    if model_type == "roberta":
        longer = InputSpec.text(vocab_size=50, pad_token_id=0, max_length=13)
        with pytest.raises(UserError, match="reads 12 tokens, the store gives 13"):
            build_encoder("hub", {"name": str(tmp_path)}, longer)


def test_hub_refuses_what_does_not_fit(saved_bert: Path, tmp_path: Path) -> None:
    for spec, words in [
        (InputSpec.text(vocab_size=51, pad_token_id=0, max_length=12), "knows 50 tokens"),
        (InputSpec.text(vocab_size=50, pad_token_id=0, max_length=13), "reads 12 tokens"),
    ]:
        with pytest.raises(UserError, match=words):
            build_encoder("hub", {"name": str(saved_bert)}, spec)
    with pytest.raises(UserError, match="cannot load"):
        build_encoder("hub", {"name": str(tmp_path)}, TEXT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_trained_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = published.model(tmp_path / "half", dtype=dtype)
    encoder = build_encoder(
        "hub", {"name": str(folder)}, InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
    )
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_attention_dropout_takes_the_place_of_the_models_own(saved_bert: Path, tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    chances = []
    for given in ({}, {"attention_dropout": 0.25}):
        encoder = make("hub", {"name": str(saved_bert), **given}, TEXT)
        chances.append(encoder.backbone.encoder.layer[0].attention.self.dropout.p)
    assert chances == [0.1, 0.25]
    ResNetModel(ResNetConfig(num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(
        tmp_path
    )
    with pytest.raises(
        UserError, match=r"'attention_dropout' .* has no attention dropout .* leave it out, or set it to null"
    ):
        make("hub", {"name": str(tmp_path), "attention_dropout": 0.0}, IMAGE)
