"""Which parameters learn how fast, and which decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sdl_study.config import TrainSettings
from sdl_study.models import InputSpec, LinearHead, ProjectionHead, build_encoder
from sdl_study.training.model import PretrainingModel
from sdl_study.training.optimizer import build_optimizer, parameter_groups


class Deep(nn.Module):
    """An encoder that tells the depth of its parameters."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.kernel = nn.Conv1d(4, 4, 3)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.norm = nn.LayerNorm(4)

    def layer_of(self, name: str) -> int:
        if name.startswith("layers."):
            return 1 + int(name.split(".")[1])
        return 3 if name.startswith("norm.") else 0


def model(encoder: nn.Module | None = None, head: nn.Module | None = None) -> PretrainingModel:
    return PretrainingModel(encoder or Deep(), head or LinearHead(4, 3), unit_length=False)


def of_names(made: PretrainingModel, **train: Any) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of every trained parameter."""
    settings = TrainSettings(**{"epochs": 1, "learning_rate": 0.1, "weight_decay": 0.5, **train})
    found = {}
    for group in parameter_groups(made, settings):
        for parameter in group["params"]:
            found[id(parameter)] = (group["lr"], group["weight_decay"])
    return {name: found[id(p)] for name, p in made.named_parameters() if id(p) in found}


def test_matrices_and_kernels_decay_and_nothing_else() -> None:
    decayed = {name for name, (_, decay) in of_names(model()).items() if decay}
    assert decayed == {
        "encoder.kernel.weight", "encoder.layers.0.weight", "encoder.layers.1.weight", "head.linear.weight",
    }  # fmt: skip


def test_of_real_encoders_norms_biases_and_embeddings_do_not_decay() -> None:
    spec = InputSpec.text(vocab_size=11, pad_token_id=0, max_length=8)
    made = model(build_encoder("bert", {"width": 8, "heads": 2}, spec), ProjectionHead(8, 6, 4))
    for name, (_, decay) in of_names(made).items():
        assert bool(decay) == (name.endswith(".weight") and "mbedding" not in name and "orm" not in name
                               and name != "head.layers.1.weight"), name  # fmt: skip


def test_all_decay_alike_where_a_study_says_so() -> None:
    made = model()
    (group,) = parameter_groups(made, TrainSettings(epochs=1, decay_all=True))
    assert [id(p) for p in group["params"]] == [id(p) for p in made.parameters()]


def test_a_head_has_a_rate_of_its_own() -> None:
    rates = {name: rate for name, (rate, _) in of_names(model(), head_learning_rate=0.7).items()}
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {0.7}
    assert {rate for name, rate in rates.items() if name.startswith("encoder.")} == {0.1}


def test_a_layer_learns_less_than_the_one_above_it() -> None:
    rates = {name: rate for name, (rate, _) in of_names(model(), layer_decay=0.5).items()}
    assert rates["encoder.words.weight"] == rates["encoder.token"] == pytest.approx(0.1 / 8)
    assert rates["encoder.layers.0.weight"] == pytest.approx(0.1 / 4)
    assert rates["encoder.layers.1.bias"] == pytest.approx(0.1 / 2)
    assert rates["encoder.norm.weight"] == rates["head.linear.weight"] == 0.1


def test_an_encoder_that_tells_no_depth_learns_at_one_rate() -> None:
    plain = model(nn.Linear(4, 4))
    assert {rate for rate, _ in of_names(plain, layer_decay=0.5).values()} == {0.1}


def test_frozen_and_shared_parameters_are_trained_never_and_once() -> None:
    encoder = Deep()
    encoder.words.requires_grad_(False)
    encoder.layers[1] = encoder.layers[0]
    made = model(encoder)
    groups = build_optimizer(made, TrainSettings(epochs=1)).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(made.parameters())) - 1
    assert id(encoder.words.weight) not in held
