"""LoRA: what is trained, where, and that a saved encoder holds plain weights; and activation checkpointing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import Encoder, build_encoder, check_encoder, load_encoder
from sdl_study.testing.encoder_contract import example_inputs
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=3, image_size=32)
DECODER: dict[str, Any] = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_hidden_layers": 3,
    "pad_token_id": None,
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.model(tmp_path_factory.mktemp("decoder") / "llama", "llama", **DECODER)


def make(folder: Path, spec: InputSpec = TEXT, **settings: Any) -> Encoder:
    torch.manual_seed(0)
    return build_encoder("hub", {"name": str(folder)} | settings, spec)


def trained(encoder: Encoder) -> set[str]:
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def update(encoder: Encoder, rate: float = 0.1) -> None:
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=rate)
    for _ in range(3):
        optimizer.zero_grad()
        encoder.train()(**example_inputs(encoder.spec)).square().sum().backward()
        optimizer.step()


def test_adapters_alone_are_trained_and_begin_by_changing_nothing(llama: Path) -> None:
    inputs = example_inputs(TEXT)
    encoder = make(llama, lora_rank=2)
    before = encoder(**inputs).detach()
    assert torch.equal(before, make(llama)(**inputs))
    assert trained(encoder)
    assert all(".lora_A." in name or ".lora_B." in name for name in trained(encoder))
    base = {name: p.clone() for name, p in encoder.named_parameters() if not p.requires_grad}
    update(encoder)
    assert not torch.equal(encoder(**inputs), before)
    for name, values in encoder.named_parameters():
        assert values.requires_grad or torch.equal(values, base[name]), name


def test_which_layers_are_adapted(llama: Path) -> None:
    every = {name.partition(".lora_")[0].rpartition(".")[2] for name in trained(make(llama, lora_rank=2))}
    assert every == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    some = trained(make(llama, lora_rank=2, lora_targets="q_proj, v_proj"))
    assert {name.partition(".lora_")[0].rpartition(".")[2] for name in some} == {"q_proj", "v_proj"}
    encoder = make(llama, lora_rank=2, frozen_layers=2)
    assert {encoder.layer_of(name) for name in trained(encoder)} == {3}
    lower = encoder.lower(**example_inputs(TEXT))
    update(encoder)
    assert torch.equal(encoder.lower(**example_inputs(TEXT))["hidden"], lower["hidden"])


def test_a_pooler_that_is_not_used_is_not_adapted(tmp_path: Path) -> None:
    encoder = make(published.model(tmp_path / "bert"), lora_rank=2)
    assert not any("pooler" in name for name in trained(encoder))


def test_rank_and_alpha(llama: Path) -> None:
    """The scale is alpha over the rank: an adapter's effect is linear in it."""
    effects = []
    for alpha in (None, 8.0, 16.0):
        encoder = make(llama, lora_rank=4, lora_targets="o_proj", lora_alpha=alpha)
        assert {min(p.shape) for n, p in encoder.named_parameters() if "lora_" in n} == {4}
        adapted = encoder.get_submodule("backbone.layers.0.self_attn.o_proj")
        torch.nn.init.ones_(adapted.lora_B["default"].weight)  # type: ignore[index]
        effects.append(adapted.get_delta_weight("default"))  # type: ignore[operator]
    assert torch.equal(effects[0], effects[1])
    torch.testing.assert_close(effects[2], 2 * effects[1])


@pytest.mark.parametrize(("family", "spec"), [("llama", TEXT), ("bert", TEXT), ("vit", IMAGE)])
def test_what_is_saved_are_plain_merged_weights(family: str, spec: InputSpec, tmp_path: Path) -> None:
    from transformers import AutoModel

    sizes: dict[str, Any] = {"llama": DECODER, "vit": {"image_size": 32, "patch_size": 16, "num_channels": 3}}
    folder = published.model(tmp_path / family, family, **sizes.get(family, {}))
    encoder, inputs = make(folder, spec, lora_rank=2), example_inputs(spec)
    before = encoder(**inputs).detach()
    update(encoder)
    encoder.save_pretrained(tmp_path / "saved")
    expected = encoder.eval()(**inputs).detach()
    assert (expected - before).abs().max() > 1e-3
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "config.json", "encoder.json", "model.safetensors"
    }  # fmt: skip
    plain, info = AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert {name for name, _ in plain.named_parameters()} == {
        n for n, _ in make(folder, spec).backbone.named_parameters()
    }
    loaded = load_encoder(tmp_path / "saved")
    torch.testing.assert_close(loaded.eval()(**inputs), expected, rtol=1e-5, atol=1e-6)
    assert trained(loaded) == trained(encoder)  # it is trained on as it was: with adapters, new ones


def test_mistakes_are_told(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="freeze leaves nothing that lora_rank could train"):
        check_encoder("hub", {"name": str(llama), "lora_rank": 2, "freeze": True}, TEXT)
    with pytest.raises(UserError, match="no linear layer 'query' to adapt; choose from down_proj, gate_proj"):
        check_encoder("hub", {"name": str(llama), "lora_rank": 2, "lora_targets": "q_proj,query"}, TEXT)
    stages: dict[str, Any] = {"hidden_sizes": [8], "depths": [1], "embedding_size": 8, "image_size": 32}
    resnet = published.model(tmp_path / "resnet", "resnet", **stages)
    with pytest.raises(UserError, match="has no linear layer to adapt; set it to 0"):
        check_encoder("hub", {"name": str(resnet), "lora_rank": 2}, IMAGE)
    with pytest.raises(
        UserError, match=r"'checkpointing' of encoder 'hub': .* cannot compute its states again"
    ):
        check_encoder("hub", {"name": str(resnet), "checkpointing": True}, IMAGE)
    with pytest.raises(UserError, match="'lora_alpha' of encoder 'hub'"):
        check_encoder("hub", {"name": str(llama), "lora_rank": 2, "lora_alpha": 0}, TEXT)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"frozen_layers": 1}])
def test_checkpointing_gives_the_same_gradient(llama: Path, settings: dict[str, Any]) -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder, calls = make(llama, checkpointing=checkpointing, **settings).train(), []
        encoder.get_submodule("backbone.layers.2.mlp").register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        encoder(**example_inputs(TEXT)).square().sum().backward()
        assert len(calls) == (2 if checkpointing else 1)
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == trained(make(llama, **settings))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_decoder_reads_texts_padded_on_the_right(llama: Path, pooling: str) -> None:
    """Its last token is that before the padding, and sees nothing of it."""
    assert json.loads((llama / "config.json").read_text())["pad_token_id"] is None
    encoder, inputs = make(llama, lora_rank=2, pooling=pooling).eval(), example_inputs(TEXT)
    together = encoder(**inputs)
    hidden = encoder.backbone(**inputs).last_hidden_state
    for row, mask in enumerate(inputs["attention_mask"]):
        length = int(mask.sum())
        alone = encoder(**{name: values[row : row + 1, :length] for name, values in inputs.items()})
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)
        expected = hidden[row, length - 1] if pooling == "last" else hidden[row, :length].mean(dim=0)
        torch.testing.assert_close(together[row], expected)
