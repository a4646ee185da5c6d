"""Frozen layers: what is frozen, and that lower and upper part together are the whole, for every family that splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import Encoder, build_encoder, check_encoder
from sdl_study.models.layers import _SPLIT, Layers
from sdl_study.testing.encoder_contract import example_inputs
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=3, image_size=32)

_STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}
_WORDS = {"num_hidden_layers": 3, "max_position_embeddings": 20} | _STILL
_DECODER = _WORDS | {"num_key_value_heads": 2, "head_dim": 8}
_SLIDING = _DECODER | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
_PATCHES = _STILL | {"image_size": 32, "patch_size": 8, "num_channels": 3, "num_hidden_layers": 3}
_STAGES = {
    "hidden_sizes": [8, 16, 24],
    "depths": [1, 1, 1],
    "num_stages": 3,
    "num_hidden_layers": 3,
    "image_size": 32,
}
_LOCAL = {"cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2, "local_attention": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "camembert", "megatron-bert", "mpnet", "roberta", "xlm-roberta"), _WORDS),
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0} | _WORDS,
    "modernbert": _WORDS | _LOCAL | {"bos_token_id": 1, "eos_token_id": 2},
    "llama": _DECODER,
    **dict.fromkeys(("mistral", "qwen2", "qwen3"), _SLIDING),
    **dict.fromkeys(("vit", "deit", "dinov2", "dinov2_with_registers"), _PATCHES),
    **dict.fromkeys(("convnext", "convnextv2"), _STAGES),
    "resnet": _STAGES | {"embedding_size": 8, "layer_type": "basic"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of every family, made when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return {family: root / family for family in FAMILIES}


def make(folders: dict[str, Path], family: str, **settings: Any) -> tuple[Encoder, dict[str, torch.Tensor]]:
    if not folders[family].exists():
        published.model(folders[family], family, **FAMILIES[family])
    spec = IMAGE if "image_size" in FAMILIES[family] else TEXT
    torch.manual_seed(0)
    encoder = build_encoder("hub", {"name": str(folders[family])} | settings, spec)
    inputs = example_inputs(spec)
    if spec is TEXT:
        inputs["attention_mask"][2:] = 1  # longer than any window
    return encoder, inputs


def parts(encoder: Encoder, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inputs of the second part."""
    lower = encoder.lower(**inputs)
    mask = {"attention_mask": inputs["attention_mask"]} if "hidden" in lower and "input_ids" in inputs else {}
    assert not any(values.requires_grad for values in lower.values())
    return lower | mask


def test_every_family_that_splits_is_tried() -> None:
    assert {name for name in _SPLIT if not name.startswith("sdl_")} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_and_upper_part_are_the_whole(folders: dict[str, Path], family: str) -> None:
    count = 2
    encoder, inputs = make(folders, family, frozen_layers=count)
    assert encoder.can_split
    assert torch.equal(encoder.eval()(**parts(encoder, inputs)), encoder(**inputs))
    gradients: list[dict[str, torch.Tensor]] = []
    for given in (inputs, parts(encoder.train(), inputs)):
        encoder.zero_grad()
        encoder(**given).square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert gradients[0].keys() == {n for n, p in encoder.named_parameters() if p.requires_grad}
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name
    assert not any(p.requires_grad for n, p in encoder.named_parameters() if encoder.layer_of(n) <= count)
    assert any(p.requires_grad for n, p in encoder.named_parameters() if encoder.layer_of(n) == count + 1)


def test_a_resnet_of_ours_splits_too(tmp_path: Path) -> None:
    """Its running statistics are a part of what is frozen, and of the key."""
    settings = {"widths": "8-16", "depths": "1-1", "norm": "sync"}
    made = build_encoder("resnet", settings, IMAGE).train()
    inputs = example_inputs(IMAGE)
    made(**inputs)
    keys = set()
    for folder in ("once", "again"):
        made.save_pretrained(tmp_path / folder)
        encoder = build_encoder(
            "hub", {"name": str(tmp_path / folder), "frozen_layers": 1, "norm": "sync"}, IMAGE
        )
        keys.add(encoder.frozen_key())
        lower = encoder.train().lower(**inputs)
        assert torch.equal(encoder.eval()(**lower), encoder(**inputs))
        assert torch.equal(encoder.train().lower(**inputs)["hidden"], lower["hidden"])
        made(**inputs)  # other running statistics
    assert len(keys) == 2


def test_dropout_is_of_the_trained_layers_alone(tmp_path: Path) -> None:
    folder = published.model(tmp_path / "bert", num_hidden_layers=2)
    encoder = build_encoder("hub", {"name": str(folder), "frozen_layers": 1}, TEXT).train()
    inputs = example_inputs(TEXT)
    assert torch.equal(encoder.lower(**inputs)["hidden"], encoder.lower(**inputs)["hidden"])
    assert not torch.equal(encoder(**inputs), encoder(**inputs))


def test_chunks_and_ranks_without_rows(folders: dict[str, Path]) -> None:
    encoder, inputs = make(folders, "bert", frozen_layers=1)
    chunks = {name: torch.stack([values, values.flip(0)], dim=1) for name, values in inputs.items()}
    lower = encoder.lower(**chunks)
    assert lower["hidden"].shape == (4, 2, 12, 16)
    given = lower | {"attention_mask": chunks["attention_mask"]}
    assert torch.equal(encoder(**given), encoder(**chunks))
    nothing = encoder(**{name: values[:0] for name, values in given.items()})
    assert nothing.shape == (0, 16)
    nothing.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


def test_a_wholly_frozen_encoder_gives_its_embeddings(folders: dict[str, Path]) -> None:
    for family in ("bert", "convnext"):
        for settings in (
            {"freeze": True},
            {"frozen_layers": 3},
        ):  # nothing but a pooler is left above the layers
            encoder, inputs = make(folders, family, **settings)
            assert (encoder.frozen, encoder.can_split) == (True, True)
            lower = encoder.lower(**inputs)
            assert set(lower) == {"embedding"}
            assert torch.equal(encoder.train()(**lower), encoder(**inputs))
    encoder, _ = make(folders, "llama", frozen_layers=3)
    assert {name for name, p in encoder.named_parameters() if p.requires_grad} == {"backbone.norm.weight"}


def test_nothing_is_frozen_by_default(folders: dict[str, Path]) -> None:
    encoder, inputs = make(folders, "bert")
    assert (encoder.can_split, encoder.frozen_key()) == (False, None)
    with pytest.raises(ValueError, match="no frozen part"):
        encoder.lower(**inputs)


def test_a_model_that_does_not_split_is_frozen_all_the_same(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"num_hidden_layers": 2, "attention_window": 4, "max_position_embeddings": 20}
    folder = published.model(tmp_path / "longformer", "longformer", **sizes)
    encoder = build_encoder("hub", {"name": str(folder), "frozen_layers": 1}, TEXT)
    assert not encoder.can_split
    assert encoder.frozen_key() is not None
    assert {encoder.layer_of(n) for n, p in encoder.named_parameters() if p.requires_grad} == {2}


def test_a_table_that_all_layers_share_is_frozen_with_the_lowest(folders: dict[str, Path]) -> None:
    encoder, _ = make(folders, "mpnet", frozen_layers=1)
    frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    assert "backbone.encoder.relative_attention_bias.weight" in frozen


@pytest.mark.parametrize("settings", [{"freeze": True}, {"frozen_layers": 1}])
def test_the_key_is_that_of_weights_and_layers(folders: dict[str, Path], settings: dict[str, Any]) -> None:
    encoder, _ = make(folders, "bert", **settings)
    key = encoder.frozen_key()
    assert key is not None
    torch.manual_seed(5)
    assert make(folders, "bert", **settings)[0].frozen_key() == key
    assert make(folders, "bert", frozen_layers=2)[0].frozen_key() != key
    for name, parameter in encoder.named_parameters():
        if "layer.0.output.dense.weight" in name:
            parameter.data[0, 0] += 1e-3
    assert encoder.frozen_key() != key


def test_the_key_does_not_depend_on_what_is_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    """transformers makes up a pooler at random where the file has none, and it is not used."""
    from safetensors.torch import load_file, save_file

    make(folders, "bert")
    folder = published.copy(folders["bert"], tmp_path / "bare")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: v for n, v in weights.items() if "pooler" not in n},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    keys = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = build_encoder("hub", {"name": str(folder), "freeze": True}, TEXT)
        keys.add(encoder.frozen_key())
    assert len(keys) == 1


def test_the_pooling_is_part_of_a_frozen_encoder(folders: dict[str, Path]) -> None:
    mean, cls = (make(folders, "bert", freeze=True, pooling=how)[0].frozen_key() for how in ("mean", "cls"))
    assert mean != cls
    lower = [make(folders, "bert", frozen_layers=1, pooling=how)[0].frozen_key() for how in ("mean", "cls")]
    assert lower[0] == lower[1]


@pytest.mark.parametrize(("family", "spec", "what"), [("bert", TEXT, "layers"), ("resnet", IMAGE, "stages")])
def test_more_layers_than_there_are(
    folders: dict[str, Path], family: str, spec: InputSpec, what: str
) -> None:
    make(folders, family)
    settings = {"name": str(folders[family]), "frozen_layers": 4}
    with pytest.raises(
        UserError, match=r"'frozen_layers' of encoder 'hub': 4 is more than the 3 layers \(stages\) of "
    ) as caught:
        check_encoder("hub", settings, spec)
    assert "\n" not in str(caught.value)


def test_depths(folders: dict[str, Path]) -> None:
    encoder, _ = make(folders, "modernbert")
    found = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert (found, encoder.num_layers) == ({0, 1, 2, 3, 4}, 3)
    assert encoder.layer_of("backbone.final_norm.weight") == 4
    assert encoder.layer_of("backbone.embeddings.tok_embeddings.weight") == 0
    mlp = build_encoder("mlp", {"width": 4}, InputSpec.features(width=3))
    assert {mlp.layer_of(name) for name, _ in mlp.named_parameters()} == {mlp.num_layers + 1}


def test_no_layers_that_can_be_told() -> None:
    assert Layers.of(torch.nn.Linear(2, 2)) is None
