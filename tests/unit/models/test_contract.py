"""The contract of an encoder, over every kind there is and one of a user's own; and that it finds what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.input_spec import InputSpec
from sdl_study.models import build_encoder, find_kind, kind_names
from sdl_study.testing.encoder_contract import EncoderContract

SPECS = {
    "text": InputSpec.text(vocab_size=50, pad_token_id=0, max_length=12),
    "image": InputSpec.image(channels=3, image_size=32),
    "features": InputSpec.features(width=6),
}

OWN_KIND = """
from typing import ClassVar

import torch
from torch import nn

from sdl_study.models import EncoderSettings


class Settings(EncoderSettings):
    modalities: ClassVar = ("text", "features")
    width: int = 8
    freeze: bool = False


class Bag(nn.Module):
    def __init__(self, spec, width):
        super().__init__()
        text = spec.modality == "text"
        self.first = nn.Embedding(spec.vocab_size, width) if text else nn.Linear(spec.width, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, input_ids=None, attention_mask=None, features=None):
        return self.dropout(self.second(self.first(features if input_ids is None else input_ids)))


def build(settings, spec):
    return Bag(spec, settings.width), settings.width
"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(1)
    build_encoder("bert", {"width": 16, "heads": 2}, SPECS["text"]).backbone.save_pretrained(folder)  # type: ignore[operator]
    return folder


class TestEveryKind(EncoderContract):
    """A new file in kinds/ is tried as it is; only settings without a default need a line here."""

    @pytest.fixture(autouse=True, params=kind_names())
    def of_kind(self, request: pytest.FixtureRequest, pretrained: Path) -> None:
        self.kind = request.param
        self.spec = SPECS[find_kind(self.kind).settings_class.modalities[0]]
        self.settings = {"name": str(pretrained)} if self.kind == "hub" else {}


class TestAnotherResNet(EncoderContract):
    """Batch statistics instead of group normalisation, bottlenecks, the small stem."""

    kind = "resnet"
    settings = {"widths": "8-16", "depths": "1-2", "norm": "sync", "block": "bottleneck", "stem": "cifar"}  # noqa: RUF012
    spec = SPECS["image"]


class TestAFrozenOne(EncoderContract):
    kind = "hub"
    spec = SPECS["text"]

    @pytest.fixture(autouse=True)
    def folder(self, pretrained: Path) -> None:
        self.settings = {"name": str(pretrained), "freeze": True}


@pytest.mark.parametrize("modality", ["text", "features"])
class TestOwnKind(EncoderContract):
    """One file outside the repository, a plain torch module."""

    @pytest.fixture(autouse=True)
    def own(self, modality: str, tmp_path: Path) -> None:
        file = tmp_path / "bag.py"
        file.write_text(OWN_KIND)
        self.kind, self.spec = str(file), SPECS[modality]


WRONG: dict[str, tuple[str, str]] = {
    # what is wrong: (replacement in OWN_KIND, the tests that must find it)
    "width": ("return Bag(spec, settings.width), 3", "finite_vector rank_without_rows"),
    "not finite": ("return self.second(self.first(input_ids)) / 0", "finite_vector"),
    "half precision": ("return Bag(spec, settings.width).half(), settings.width", "finite_vector"),
    "blind": (
        "return self.second(torch.zeros(*input_ids.shape, 8)) + 0 * self.first(input_ids)",
        "different_vectors",
    ),
    "looks at padding": (
        "x = self.first(input_ids); return self.second(x + x.mean(1, keepdim=True))",
        "neighbours",
    ),
    "looks at neighbours": (
        "x = self.first(input_ids); return self.second(x + x[:, :1].mean(0, keepdim=True))",
        "neighbours",
    ),
    "unused layer": ("return self.first(input_ids)", "rank_without_rows every_trainable"),
    "random": ("x = self.first(input_ids); return self.second(x + torch.rand_like(x))", "deterministic"),
    "unseeded": (
        "bag = Bag(spec, settings.width); bag.second.bias.data += next(COUNT); return bag, settings.width",
        "seed_decides",
    ),
    "not saved": (
        "bag = Bag(spec, settings.width); bag.forward = Noise(bag.forward); return bag, settings.width",
        "read_again",
    ),
    "changes itself": (
        "self.second.weight.data.mul_(2); return self.second(self.first(input_ids))",
        "changes_nothing",
    ),
}


_HELPERS = """
import itertools

COUNT = itertools.count()


class Noise:
    def __init__(self, forward):
        self.forward, self.noise = forward, torch.rand(8)

    def __call__(self, **inputs):
        return self.forward(**inputs) + self.noise

"""


def _wrong_kind(line: str) -> str:
    old = "return self.dropout(self.second(self.first(features if input_ids is None else input_ids)))"
    if "settings.width" in line or "Bag(" in line:
        old = "return Bag(spec, settings.width), settings.width"
    assert OWN_KIND.count(old) == 1
    return _HELPERS + OWN_KIND.replace(old, line)


@pytest.mark.parametrize("name", WRONG)
def test_the_contract_finds_what_is_wrong(name: str, tmp_path: Path) -> None:
    line, words = WRONG[name]
    file = tmp_path / "wrong.py"
    file.write_text(_wrong_kind(line))

    class Wrong(EncoderContract):
        kind, spec = str(file), SPECS["text"]

    found = set()
    for test in [test for test in dir(Wrong) if test.startswith("test_")]:
        arguments: dict[str, Any] = {"tmp_path": tmp_path} if "saved" in test else {}
        try:
            getattr(Wrong(), test)(**arguments)
        except (AssertionError, RuntimeError):
            found.add(test)
    for word in words.split():
        assert any(word in test for test in found), f"{word} did not find it; {sorted(found)} did"
