"""What must hold for every batch, searched by Hypothesis."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdl_study.losses import (
    AllLoss,
    AnyLoss,
    ContrastiveLoss,
    LabelSets,
    MulSupConLoss,
    RelationWeights,
    SimilarityDissimilarityLoss,
    WeightedContrastiveLoss,
    WeightRule,
    build_loss,
)
from sdl_study.losses.core import Core
from sdl_study.losses.exchange import gather_batch
from sdl_study.losses.named.sd import SimilarityDissimilarityRule
from sdl_study.losses.positives import RulePositives
from sdl_study.losses.relations import RELATIONS, relation_masks
from sdl_study.losses.tiles import TilePlan

NUM_LABELS = 6
label_sets = st.lists(st.sets(st.integers(0, NUM_LABELS - 1), max_size=4), min_size=2, max_size=12)
temperatures = st.sampled_from([0.05, 0.2, 1.0])
quick = settings(max_examples=25)
PUBLISHED = ["all", "any", "sd", "jaccard", "mulsupcon", "multisupcon"]


def _rows(num_rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((num_rows, 4), generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def _step(loss: ContrastiveLoss, z: Tensor, sets: list[set[int]]) -> tuple[float, Tensor]:
    z = z.clone().requires_grad_()
    value = loss(z, LabelSets.from_lists(sets, NUM_LABELS))
    value.backward()
    assert z.grad is not None
    return float(value.detach()), z.grad


def _same(one: tuple[float, Tensor], other: tuple[float, Tensor], factor: float = 1.0) -> bool:
    near = math.isclose(one[0], factor * other[0], rel_tol=1e-10, abs_tol=1e-12)
    return near and bool((one[1] - factor * other[1]).norm() <= 1e-10 * (1 + other[1].norm()))


@pytest.mark.parametrize("name", PUBLISHED)
@quick
@given(sets=label_sets, tau=temperatures, data=st.data())
def test_the_order_of_rows_does_not_matter(
    name: str, sets: list[set[int]], tau: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(sets))))
    loss, z = build_loss(name, temperature=tau), _rows(len(sets))
    value, gradient = _step(loss, z, sets)
    moved = _step(loss, z[order], [sets[i] for i in order])
    assert _same(moved, (value, gradient[order]))


@quick
@given(sets=label_sets)
def test_factors_and_relations_equal_set_arithmetic(sets: list[set[int]]) -> None:
    size = len(sets)
    counts = torch.tensor([[float(len(s & t)) for t in sets] for s in sets], dtype=torch.float64)
    sizes = torch.tensor([float(max(1, len(s))) for s in sets], dtype=torch.float64)
    masks = relation_masks(counts, sizes[:, None], sizes[None, :])
    weights = SimilarityDissimilarityRule().weight(counts, sizes[:, None], sizes[None, :])
    assert tuple(masks) == RELATIONS
    for i in range(size):
        for j in range(size):
            s, t = sets[i], sets[j]
            expected = {
                "disjoint": not s & t,
                "equal": bool(s) and s == t,
                "overlap": bool(s & t) and not s <= t and not t <= s,
                "subset": bool(t) and t < s,
                "superset": bool(s) and s < t,
            }
            assert {name: bool(mask[i, j]) for name, mask in masks.items()} == expected
            if s & t:
                similarity, dissimilarity = len(s & t) / len(s), 1 / (1 + len(t - s))
                assert float(weights[i, j]) == pytest.approx(similarity * dissimilarity, rel=1e-14)


@quick
@given(sets=label_sets, tau=temperatures)
def test_sd_without_powers_is_any(sets: list[set[int]], tau: float) -> None:
    z = _rows(len(sets))
    sd = SimilarityDissimilarityLoss(tau, similarity_power=0, dissimilarity_power=0)
    assert _same(_step(sd, z, sets), _step(AnyLoss(tau), z, sets))


@quick
@given(sets=label_sets, tau=temperatures)
def test_sd_on_equal_sets_is_all(sets: list[set[int]], tau: float) -> None:
    z = _rows(len(sets))
    sd = SimilarityDissimilarityLoss(tau, 0, 0, RelationWeights(1, 0, 0, 0))
    assert _same(_step(sd, z, sets), _step(AllLoss(tau), z, sets))


@quick
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=12), tau=temperatures)
def test_one_label_each_makes_all_losses_equal(labels: list[int], tau: float) -> None:
    z, sets = _rows(len(labels)), [{label} for label in labels]
    reference = _step(AnyLoss(tau), z, sets)
    for name in PUBLISHED:
        assert _same(_step(build_loss(name, temperature=tau), z, sets), reference)
    assert _same(_step(MulSupConLoss(tau, per_anchor_mean=True), z, sets), reference)


@quick
@given(sets=label_sets, tau=temperatures)
def test_scaling_relation_weights_scales_only_with_normalizer_positives(
    sets: list[set[int]], tau: float
) -> None:
    z, three = _rows(len(sets)), RelationWeights(3, 3, 3, 3)
    plain = _step(SimilarityDissimilarityLoss(tau), z, sets)
    assert _same(_step(SimilarityDissimilarityLoss(tau, relation_weights=three), z, sets), plain, 3.0)
    by_weights = _step(SimilarityDissimilarityLoss(tau, normalizer="weights"), z, sets)
    scaled = SimilarityDissimilarityLoss(tau, relation_weights=three, normalizer="weights")
    assert _same(_step(scaled, z, sets), by_weights)


@quick
@given(sets=label_sets, tau=temperatures)
def test_slopes_of_an_anchors_logits_add_up_to_zero(sets: list[set[int]], tau: float) -> None:
    """g_ij = Ω_i p_ij − ω_ij, rebuilt for one anchor at a time from the pieces of the core."""
    z, labels = _rows(len(sets)), LabelSets.from_lists(sets, NUM_LABELS)
    batch = gather_batch(z, labels, None, None, sharded=False)
    plan = TilePlan(0, len(sets), len(sets), 512)
    positives = RulePositives(SimilarityDissimilarityRule(), batch, plan)
    core = Core(batch, plan, positives, 1 / tau, 0)
    statistics = core._statistics(keep=False)
    normalized = positives.normalize(statistics[:, 1:])
    (tile,) = plan.tiles
    weights = positives.weights(positives.counter.count(tile), tile.rows, tile.columns, 1)
    omega = normalized.scale[:, None] * weights
    logits = (z @ z.T / tau).fill_diagonal_(-math.inf)
    slopes = normalized.total[:, None] * logits.softmax(1) - omega
    assert slopes.sum(1).abs().max() <= 1e-14
    # and they are the gradient that the loss gives
    _, gradient = _step(SimilarityDissimilarityLoss(tau), z, sets)
    assert ((slopes + slopes.T) @ z / tau - gradient).abs().max() <= 1e-12


@quick
@given(sets=label_sets, tau=temperatures, step=st.integers(0, 5))
def test_random_weights_keep_sds_positives_and_totals(sets: list[set[int]], tau: float, step: int) -> None:
    z = _rows(len(sets))
    control = build_loss("random_weights", temperature=tau).eval()
    control.get_buffer("step").fill_(step)
    ours = control.diagnostics(z, LabelSets.from_lists(sets, NUM_LABELS))
    sd = SimilarityDissimilarityLoss(tau).diagnostics(z, LabelSets.from_lists(sets, NUM_LABELS))
    assert ours.pairs == sd.pairs
    assert ours.valid_anchor_fraction == sd.valid_anchor_fraction
    assert ours.weight_scale == pytest.approx(sd.weight_scale, rel=1e-12, nan_ok=True)


class Halving(WeightRule):
    """The example of the documentation."""

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return 0.5 ** (candidate_size - intersection)


@quick
@given(sets=label_sets, tau=temperatures)
def test_a_rule_of_five_lines_is_masked_and_normalised_for_its_author(
    sets: list[set[int]], tau: float
) -> None:
    z, size = _rows(len(sets)), len(sets)
    weight = torch.zeros((size, size), dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            if i != j and sets[i] & sets[j]:
                weight[i, j] = 0.5 ** len(sets[j] - sets[i])
    count = (weight > 0).sum(1, keepdim=True)
    omega = weight / count.clamp_min(1) / (count > 0).sum().clamp_min(1)
    logits = (z @ z.T / tau).fill_diagonal_(-math.inf)
    expected = float((omega.sum(1) * logits.logsumexp(1)).sum() - (omega * logits.fill_diagonal_(0)).sum())
    loss = WeightedContrastiveLoss(Halving(), tau)(z, LabelSets.from_lists(sets, NUM_LABELS))
    assert float(loss) == pytest.approx(expected, rel=1e-11, abs=1e-12)
