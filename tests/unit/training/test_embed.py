"""Embeddings in the rows' order, and a diverged encoder that is told before anything is fitted on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdl_study.losses import LabelSets
from sdl_study.models import InputSpec
from sdl_study.training.inputs import Inputs
from sdl_study.training.stages import embed as embed_module
from sdl_study.training.stages.embed import NonFiniteEmbeddings, embed, largest_usable
from sdl_study.training.stages.probe import fit_probe

CPU = torch.device("cpu")
NO_LABELS = LabelSets.from_lists([[]], 1)


class Numbers:
    """A store whose example ``row`` is the number ``row``; the longer ones have the smaller numbers."""

    path = Path("numbers")
    spec = InputSpec.features(width=1)

    def fetch(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {"features": torch.from_numpy(rows).float()[:, None]}

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        return -rows


class Encoder(nn.Module):
    """Two numbers of one."""

    width = 2

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, features: Tensor) -> Tensor:
        assert not self.training
        return self._function(features).expand(-1, 2)


class Texts(Numbers):
    """Rows of their own numbers of tokens, in chunks of 8 tokens; remembers what was fetched."""

    spec = InputSpec.text(vocab_size=2, pad_token_id=0, max_length=8)

    def __init__(self) -> None:
        self.fetched: list[list[int]] = []

    def fetch(self, rows: np.ndarray) -> dict[str, Tensor]:
        self.fetched.append(rows.tolist())
        return super().fetch(rows)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows)


def inputs() -> Inputs:
    none = np.arange(0)
    return Inputs(Numbers(), none, none, none, NO_LABELS, NO_LABELS)


def embedded(rows: np.ndarray, function: Callable[[Tensor], Tensor] = lambda values: values) -> Tensor:
    encoder = Encoder(function).train()
    found = embed(encoder, rows, inputs(), CPU)
    assert encoder.training
    return found


def test_rows_keep_their_order_whatever_was_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_module, "_ROWS_AT_ONCE", 3)
    rows = np.array([5, 0, 9, 9, 2, 7, 1])
    assert embedded(rows)[:, 0].tolist() == rows.tolist()
    assert embedded(rows[:0]).shape == (0, 2)


def test_texts_are_read_by_a_budget_of_tokens_as_they_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_module, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(embed_module, "_TOKENS_AT_ONCE", 24)
    none, store = np.arange(0), Texts()
    rows = np.array([20, 3, 2, 1, 8, 7, 9, 40, 4])
    found = embed(
        Encoder(lambda values: values), rows, Inputs(store, none, none, none, NO_LABELS, NO_LABELS), CPU
    )
    assert found[:, 0].tolist() == rows.tolist()
    # 9 tokens are two chunks of 8, 20 are three, 40 are more than the budget: a row of its own
    assert store.fetched == [[1, 2, 3], [4, 7, 8], [9], [20], [40]]


def test_an_encoder_computes_in_the_precision_of_training() -> None:
    torch.manual_seed(0)
    encoder = nn.Linear(1, 2)
    encoder.forward = lambda features: nn.functional.linear(features, encoder.weight, encoder.bias)  # type: ignore[method-assign]
    encoder.width = 2  # type: ignore[assignment]
    rows = np.arange(1, 300)
    full, half = (embed(encoder, rows, inputs(), CPU, precision) for precision in ("fp32", "bf16"))
    assert full.dtype == half.dtype == torch.float32
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(full, half)
    assert torch.allclose(full, half, rtol=2.0**-7, atol=2.0**-7 * float(full.abs().max()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e25])
def test_one_number_that_nothing_can_be_fitted_on_is_the_settings_failure(value: float) -> None:
    rows = np.arange(8)
    with pytest.raises(NonFiniteEmbeddings):
        embedded(rows, lambda values: torch.where(values == 3, torch.tensor(value), values))


def test_a_probe_can_be_fitted_on_the_largest_numbers_that_pass() -> None:
    rows = np.arange(50)
    largest = largest_usable(len(rows))
    with pytest.raises(NonFiniteEmbeddings):
        embedded(rows, lambda values: torch.where(values % 2 == 0, largest, -largest))
    passed = embedded(rows, lambda values: torch.where(values % 2 == 0, 0.99 * largest, -0.99 * largest))
    labels = LabelSets.from_lists([[int(row) % 2] for row in rows], 2)
    probe = fit_probe(passed, labels)
    assert torch.isfinite(probe.predict_proba(passed)).all()
