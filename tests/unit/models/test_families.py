"""The contract of an encoder, over every family of pretrained models that a study may name, built small, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdl_study.input_spec import InputSpec
from sdl_study.testing.encoder_contract import EncoderContract
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=3, image_size=32)

_WORDS: dict[str, Any] = {"num_hidden_layers": 2, "max_position_embeddings": 20}
_DECODER = _WORDS | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None}
_PATCHES: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_channels": 3, "num_hidden_layers": 2}
_STAGES = {
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "num_stages": 2,
    "num_hidden_layers": 2,
    "image_size": 32,
}
_LORA = {"lora_rank": 2, "pooling": "last"}

FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # family: (sizes of its configuration, settings of the encoder)
    "bert": (_WORDS, {"frozen_layers": 1}),
    "roberta": (_WORDS, {"pooling": "cls"}),
    "modernbert": (_WORDS | {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}, {}),
    "longformer": (_WORDS | {"attention_window": 4}, {}),
    "llama": (_DECODER, _LORA),
    "qwen3": (_DECODER, _LORA | {"pooling": "mean", "checkpointing": True}),
    "resnet": (_STAGES | {"embedding_size": 8, "layer_type": "basic"}, {"norm": "sync"}),
    "vit": (_PATCHES, {"pooling": "cls"}),
    "convnext": (_STAGES, {"frozen_layers": 1}),
    "dinov2": (_PATCHES, {"lora_rank": 2, "frozen_layers": 1}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


class TestEveryFamily(EncoderContract):
    kind = "hub"

    @pytest.fixture(autouse=True, params=FAMILIES)
    def of_family(self, request: pytest.FixtureRequest, root: Path) -> None:
        sizes, settings = FAMILIES[request.param]
        folder = root / request.param
        if not folder.exists():
            published.model(folder, request.param, **sizes)
        self.settings = {"name": str(folder)} | settings
        self.spec = IMAGE if "image_size" in sizes else TEXT
        self.saved_within = 1e-5 if "lora_rank" in settings else 0.0

    def test_frozen_is_frozen(self) -> None:
        if "lora_rank" in self.settings:
            self.settings = {**self.settings, "lora_rank": 0}  # adapters of a frozen encoder are refused
        super().test_frozen_is_frozen()
