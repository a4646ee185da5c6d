"""Strength and scaling of the probe: chosen by other rows than those it fits, on a grid that grows if short."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from sdl_study.config import ProbeSettings
from sdl_study.evaluation.strength import STRONGEST, WEAKEST, next_strength
from sdl_study.training.stages import logistic
from sdl_study.training.stages.probe import L2_GRID, Probe, Scaling, fit_probe
from tests.unit.training.test_probe import case, sets

SCALINGS: tuple[Scaling, ...] = ("standard", "unit")


def test_the_strength_is_chosen_by_held_out_loss() -> None:
    embeddings, truth = case(rows=80, width=40)
    grid = (1e-5, 1e-3, 1e-1, 10.0)
    probe = fit_probe(embeddings, sets(truth), l2_grid=grid, grow=False)
    assert set(probe.holdout_loss) == set(grid)
    assert probe.holdout_loss[probe.l2] == min(probe.holdout_loss.values())
    assert probe.l2 >= 1e-1  # forty noisy features on eighty rows: weak strengths overfit
    assert fit_probe(embeddings, sets(truth), l2_grid=[0.5]).holdout_loss == {}


def test_a_grid_that_is_too_short_grows_at_either_end_until_the_best_lies_inside() -> None:
    noisy, clear = case(rows=80, width=40), case(rows=4_000, width=4)
    for (embeddings, truth), grid in ((noisy, (1e-5, 1e-4)), (clear, (1.0, 10.0))):
        probe = fit_probe(embeddings, sets(truth), l2_grid=grid)
        strengths = sorted(probe.holdout_loss)
        assert set(grid) < set(strengths)
        assert strengths[0] < probe.l2 < strengths[-1]
        assert [b / a for a, b in pairwise(strengths)] == pytest.approx([10.0] * (len(strengths) - 1))
        short = fit_probe(embeddings, sets(truth), l2_grid=grid, grow=False)
        assert set(short.holdout_loss) == set(grid)
        assert probe.holdout_loss[probe.l2] < min(short.holdout_loss.values())
        assert short.holdout_loss.items() <= probe.holdout_loss.items()


def test_a_grown_grid_finds_what_a_long_one_finds() -> None:
    embeddings, truth = case(rows=80, width=40)
    grown = fit_probe(embeddings, sets(truth), l2_grid=(1e-4, 1e-3, 1e-2), tolerance=1e-8)
    long = fit_probe(embeddings, sets(truth), l2_grid=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), tolerance=1e-8)
    assert grown.l2 == pytest.approx(long.l2)
    torch.testing.assert_close(
        grown.predict_proba(embeddings), long.predict_proba(embeddings), rtol=0, atol=1e-4
    )


def test_a_grid_that_grows_looks_no_further_when_the_loss_rises() -> None:
    """Weak strengths are the dear ones; the probe is the same as with them."""
    embeddings, truth = case(rows=80, width=40)
    grid = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    found, whole = (fit_probe(embeddings, sets(truth), l2_grid=grid, grow=grow) for grow in (True, False))
    assert found.l2 == whole.l2
    assert torch.equal(found.weight, whole.weight)
    assert min(found.holdout_loss) == pytest.approx(found.l2 / 10)
    assert found.holdout_loss.items() <= whole.holdout_loss.items()


def test_the_scaling_is_chosen_by_held_out_loss() -> None:
    """Unit length where lengths are noise, each dimension's own deviation where the length is what counts."""
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(400, 10, generator=generator)
    lengths = torch.exp(1.5 * torch.randn(400, 1, generator=generator))
    by_direction = torch.nn.functional.normalize(directions, dim=1)[:, :3] > 0.1
    by_length = (lengths > lengths.median()).expand(400, 3)
    for truth, right in ((by_direction, "unit"), (by_length, "standard")):
        embeddings = torch.cat([directions * lengths, lengths], dim=1)
        alone = {way: fit_probe(embeddings, sets(truth), scaling=(way,)) for way in SCALINGS}
        for ways in (SCALINGS, SCALINGS[::-1]):
            found = fit_probe(embeddings, sets(truth), scaling=ways)
            assert found.scaling == right
            assert torch.equal(found.weight, alone[right].weight)
            assert found.holdout_loss == alone[right].holdout_loss
        single = fit_probe(embeddings, sets(truth), l2_grid=(1e-2,), scaling=SCALINGS)
        assert (single.scaling, single.l2) == (right, 1e-2)
    with pytest.raises(ValueError, match="one way of scaling"):
        fit_probe(embeddings, sets(by_length), scaling=())


def test_a_judge_chooses_strength_and_scaling_and_the_fit_is_on_all_rows() -> None:
    """The embeddings know the labels that they are fitted on, as those of an encoder trained on them do."""
    generator = torch.Generator().manual_seed(6)
    truth = torch.rand(300, 3, generator=generator) < 0.4
    honest = torch.randn(300, 3, generator=generator) + 0.7 * truth
    known = truth.float() + 0.05 * torch.randn(300, 3, generator=generator)
    known[200:] = 0.5 + 0.5 * torch.randn(100, 3, generator=generator)  # where they were not trained: nothing
    embeddings = torch.cat([honest, 3 * known], dim=1)
    train, dev = (embeddings[:200], sets(truth[:200])), (embeddings[200:], sets(truth[200:]))
    inside, judged = fit_probe(*train), fit_probe(*train, judge=dev)
    assert judged.l2 > 10 * inside.l2

    def loss(probe: Probe) -> float:
        return float(
            torch.nn.functional.binary_cross_entropy(probe.predict_proba(dev[0]), truth[200:].float())
        )

    assert loss(judged) < loss(inside)
    assert loss(judged) == pytest.approx(judged.holdout_loss[judged.l2], rel=1e-5)
    alone = fit_probe(*train, l2_grid=(judged.l2,))
    torch.testing.assert_close(
        judged.predict_proba(embeddings), alone.predict_proba(embeddings), rtol=0, atol=5e-3
    )
    losses = {way: fit_probe(*train, judge=dev, scaling=(way,)).holdout_loss for way in SCALINGS}
    both = fit_probe(*train, judge=dev, scaling=SCALINGS)
    assert both.scaling == min(SCALINGS, key=lambda way: min(losses[way].values()))
    assert both.holdout_loss == losses[both.scaling]
    with pytest.raises(ValueError, match="not finite"):
        fit_probe(*train, judge=(dev[0] * float("nan"), dev[1]))


def test_unit_length_forgets_the_length() -> None:
    embeddings, truth = case()
    probe = fit_probe(embeddings, sets(truth), scaling=("unit",))
    torch.testing.assert_close(
        probe.predict_proba(7 * embeddings), probe.predict_proba(embeddings), rtol=0, atol=1e-5
    )


def test_cutting_a_block_down_to_the_labels_that_are_left_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than that products of other widths may round otherwise."""
    generator = torch.Generator().manual_seed(4)
    embeddings = torch.randn(300, 20, generator=generator)
    scores = embeddings @ torch.randn(20, 90, generator=generator)
    truth = scores + 4 * torch.randn(300, 90, generator=generator) > torch.linspace(-9, 15, 90)
    widths: list[int] = []
    evaluate = logistic.Problem.evaluate

    def counted(self: logistic.Problem, params: torch.Tensor) -> Any:
        widths.append(params.shape[1])
        return evaluate(self, params)

    monkeypatch.setattr(logistic.Problem, "evaluate", counted)
    cut = fit_probe(embeddings, sets(truth), l2_grid=[1e-4])
    assert (max(widths), min(widths) < 90) == (90, True)
    monkeypatch.setattr(logistic, "_LEAST_CUT", 1_000)
    widths.clear()
    whole = fit_probe(embeddings, sets(truth), l2_grid=[1e-4])
    assert set(widths) == {90}
    torch.testing.assert_close(
        cut.predict_proba(embeddings), whole.predict_proba(embeddings), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.1: 2.0, 1.0: 1.0}, 10.0),
        ({0.1: 1.0, 1.0: 2.0}, 0.01),
        ({0.01: 2.0, 0.1: 1.0, 1.0: 2.0}, None),
        ({0.1: 1.0, 0.2: 1.0}, 0.4),  # a tie is the stronger one's
        ({0.1: 2.0, 0.1001: 1.0}, 0.2002),  # a grid of tiny steps is left in few
        ({0.1: 1.0, 0.1001: 2.0}, 0.05),
        ({STRONGEST / 2: 2.0, STRONGEST: 1.0}, None),
        ({WEAKEST: 1.0, 1.0: 2.0}, None),
        ({1.0: 2.0, 1e5: 1.0}, None),  # a grid of one's own may lie beyond the limits
    ],
)
def test_the_next_strength(losses: dict[float, float], expected: float | None) -> None:
    assert next_strength(losses) == (None if expected is None else pytest.approx(expected))


def test_pure_noise_ends_at_the_limit() -> None:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(300, 30, generator=generator)
    truth = torch.rand(300, 2, generator=generator) < 0.3
    probe = fit_probe(embeddings, sets(truth), l2_grid=(1e-2, 1e-1))
    assert probe.l2 <= STRONGEST
    assert len(probe.holdout_loss) <= 7


def test_the_settings_have_the_probes_own_grid() -> None:
    assert ProbeSettings().l2_grid == L2_GRID
    assert ProbeSettings().grow
