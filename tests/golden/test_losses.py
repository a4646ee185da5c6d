"""Every loss against the oracle and against weights written out by hand, by one tile and by many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from sdl_study.losses import LabelSets, tiles
from tests.golden import oracle
from tests.golden.batches import BATCHES, TEMPERATURES, make_batch
from tests.golden.hand_cases import EMBEDDINGS, HAND_CASES
from tests.golden.variants import VARIANTS, Variant

PATHS = {"plain": (tiles.SMALL_PROBLEM, 256), "tiled": (0, 256), "tiled, no cache": (0, 0)}
EDGE = 7
"""Tiles so small that a batch of 13 rows has two on the diagonal and one above it."""


@pytest.fixture(params=PATHS)
def common(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Common settings of a loss on one of the three ways through the core."""
    small, cache_mib = PATHS[request.param]
    monkeypatch.setattr(tiles, "SMALL_PROBLEM", small)
    monkeypatch.setattr(tiles, "CPU_EDGE", EDGE)
    return {"cache_mib": cache_mib}


@dataclass(frozen=True)
class Reference:
    """What the oracle says, and how large the terms are that may cancel to exactly 0."""

    loss: float
    gradient: Tensor
    size: float
    slope: float
    largest_logit: float


@cache
def _reference(batch: str, variant: str, tau: float) -> Reference:
    z, sets, _ = make_batch(batch)
    chosen = next(v for v in VARIANTS if v.name == variant)
    weights = oracle.omega(sets, chosen.oracle, **chosen.settings)
    loss, gradient = oracle.loss_and_gradient(z, weights, tau)
    longest = max(sum(x * x for x in row) for row in z)
    total = sum(map(sum, weights))
    expected = torch.tensor(gradient, dtype=torch.float64)
    return Reference(loss, expected, total * longest / tau, total * longest**0.5 / tau, longest / tau)


def _run(
    variant: Variant,
    z: list[list[float]],
    labels: LabelSets,
    tau: float,
    dtype: torch.dtype,
    common: dict[str, Any],
) -> tuple[float, Tensor]:
    embeddings = torch.tensor(z, dtype=dtype, requires_grad=True)
    loss = variant.make(tau, **common)(embeddings, labels)
    loss.backward()
    assert embeddings.grad is not None
    return float(loss.detach()), embeddings.grad.double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equals_the_oracle(variant: Variant, batch: str, dtype: torch.dtype, common: dict[str, Any]) -> None:
    z, sets, num_labels = make_batch(batch)
    labels = LabelSets.from_lists(sets, num_labels)
    for tau in TEMPERATURES if common["cache_mib"] else TEMPERATURES[:3]:
        reference = _reference(batch, variant.name, tau)
        loss, gradient = _run(variant, z, labels, tau, dtype, common)
        # rounding s alone costs its size times the unit roundoff
        rounding = 4 * reference.largest_logit * (2.0**-53 if dtype == torch.float64 else 2.0**-24)
        if dtype == torch.float64:
            for_loss = for_gradient = max(1e-12, rounding)
        else:
            for_loss, for_gradient = 1e-6, max(1e-6, rounding)
        assert abs(loss - reference.loss) <= for_loss * (abs(reference.loss) or reference.size), tau
        error = float((gradient - reference.gradient).norm())
        assert error <= for_gradient * (float(reference.gradient.norm()) or reference.slope), tau


@pytest.mark.parametrize(("name", "settings", "sets", "weights"), HAND_CASES)
def test_weights_written_by_hand(
    name: str, settings: dict, sets: list[set[int]], weights: list, common: dict[str, Any]
) -> None:
    by_hand = [[float(w) for w in row] for row in weights]
    computed = oracle.omega(sets, name, **settings)
    for ours, expected in zip(computed, by_hand, strict=True):
        assert ours == pytest.approx(expected, rel=1e-14, abs=0)
    variant = next(v for v in VARIANTS if v.oracle == name and v.settings == settings)
    for tau in (0.07, 0.5):
        loss, gradient = oracle.loss_and_gradient(EMBEDDINGS, by_hand, tau)
        ours, our_gradient = _run(
            variant, EMBEDDINGS, LabelSets.from_lists(sets, 3), tau, torch.float64, common
        )
        expected_gradient = torch.tensor(gradient, dtype=torch.float64)
        assert abs(ours - loss) <= 1e-12 * abs(loss)
        assert (our_gradient - expected_gradient).norm() <= 1e-12 * expected_gradient.norm()


def test_the_oracles_gradient_is_the_slope_of_its_loss() -> None:
    z, sets, _ = make_batch("five relations")
    weights = oracle.omega(sets, "sd")
    _, gradient = oracle.loss_and_gradient(z, weights, 0.5)
    step = 1e-5
    for row, column in ((0, 0), (3, 2), (12, 3)):
        values = []
        for sign in (1, -1):
            moved = [line[:] for line in z]
            moved[row][column] += sign * step
            values.append(oracle.loss_and_gradient(moved, weights, 0.5)[0])
        slope = (values[0] - values[1]) / (2 * step)
        assert math.isclose(slope, gradient[row][column], rel_tol=1e-6, abs_tol=1e-9)


def test_the_plain_and_the_tiled_path_are_both_taken(common: dict[str, Any]) -> None:
    plan = tiles.TilePlan(0, 13, 13, tiles.CPU_EDGE)
    assert len(plan.tiles) == (1 if plan.is_plain else 3)
