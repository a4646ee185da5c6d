"""The losses as their users call them: settings, wrong input, dtypes, autocast, views, diagnostics."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sdl_study.losses import (
    CONTRASTIVE_LOSSES,
    AnyLoss,
    LabelSets,
    SimilarityDissimilarityLoss,
    WeightedContrastiveLoss,
    build_loss,
    cached_backward,
    tiles,
)
from sdl_study.losses.rules import AnyRule
from sdl_study.testing import make_inputs, multi_hot_labels


def _batch(num_rows: int = 14) -> tuple[Tensor, Tensor]:
    rows = torch.nn.functional.normalize(make_inputs(num_rows), dim=1)
    return rows.clone().requires_grad_(), multi_hot_labels([num_rows])


def _gradient(loss: torch.nn.Module, z: Tensor, labels: Any) -> Tensor:
    z = z.detach().clone().requires_grad_()
    loss(z, labels).backward()
    assert z.grad is not None
    return z.grad


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_wrong_input_is_named(name: str) -> None:
    loss = build_loss(name, temperature=0.1)
    z, labels = make_inputs(4), multi_hot_labels([4])
    broken = z.clone()
    broken[2, 1] = math.inf
    cases = [
        ((broken, labels), ValueError, r"embeddings \(4, 5\): row 2 holds NaN or infinity"),
        ((z, labels[:3]), ValueError, r"labels hold 3 rows, embeddings \(4, 5\) hold 4: row 3"),
        ((z[:3], labels), ValueError, r"labels hold 4 rows, embeddings \(3, 5\) hold 3: row 3"),
        ((z.long(), labels), ValueError, r"embeddings \(4, 5\) have dtype torch.int64"),
        ((z[0], labels), ValueError, r"embeddings have shape \(5,\)"),
        ((z[:, :0], labels), ValueError, r"embeddings have shape \(4, 0\)"),
        ((z, labels * 2), ValueError, r"labels: row 0, label \d is 2.0"),
        ((z, labels.to("meta")), ValueError, r"labels \(4, 7\) are on meta, embeddings \(4, 5\) on cpu"),
        ((z, labels.tolist()), TypeError, "labels must be"),
        ((z.tolist(), labels), TypeError, "embeddings must be"),
    ]
    for arguments, kind, message in cases:
        with pytest.raises(kind, match=message):
            loss(*arguments)


def test_a_large_finite_sum_is_no_fault() -> None:
    rows = torch.full((3, 2), 3e38)
    with pytest.raises(ValueError, match="row 1"):
        AnyLoss()(torch.where(torch.arange(3)[:, None] == 1, math.nan, rows), torch.ones(3, 1))
    from sdl_study.losses.exchange import as_label_sets

    assert len(as_label_sets(rows, torch.ones(3, 1))) == 3


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    z, labels = _batch()
    half = z.detach().to(dtype).requires_grad_()
    loss = build_loss(name, temperature=0.1).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(half, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == dtype
    assert float(value.detach()) == pytest.approx(float(loss(half.detach().float(), labels)), rel=1e-6)
    exact = _gradient(loss, half.detach().float(), labels)
    assert (half.grad.float() - exact).norm() <= 2 * torch.finfo(dtype).eps * exact.norm()


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_nothing_to_learn_is_zero_and_attached(name: str) -> None:
    loss = build_loss(name, temperature=0.1)
    for rows, labels in ((0, torch.zeros(0, 3)), (1, torch.ones(1, 3)), (5, torch.zeros(5, 3))):
        z = make_inputs(rows).requires_grad_()
        value = loss(z, labels)
        value.backward()
        assert float(value.detach()) == 0
        assert z.grad is not None
        assert z.grad.shape == z.shape
        assert float(z.grad.abs().sum()) == 0
        assert float(loss.valid_anchor_fraction) == 0


def test_collapse_is_log_of_the_batch() -> None:
    rows = torch.nn.functional.normalize(torch.ones(33, 8), dim=1)
    for name in ("any", "all", "mulsupcon"):
        value = build_loss(name, temperature=0.07)(rows, torch.ones(33, 1))
        assert float(value) == pytest.approx(math.log(32), rel=1e-6)


def test_valid_anchor_fraction() -> None:
    loss = build_loss("all", temperature=0.1)
    loss(make_inputs(5), LabelSets.from_lists([[0], [0], [1], [], [0, 1]], 2))
    assert float(loss.valid_anchor_fraction) == pytest.approx(0.4)
    assert loss.valid_anchor_fraction.ndim == 0
    assert not loss.valid_anchor_fraction.requires_grad


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
@pytest.mark.parametrize("small", [tiles.SMALL_PROBLEM, 0], ids=["plain", "tiled"])
def test_views_are_rows_with_the_samples_label_set(
    name: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "SMALL_PROBLEM", small)
    monkeypatch.setattr(tiles, "CPU_EDGE", 8)
    z, labels = _batch(12)
    views = z.detach().view(6, 2, -1)
    loss = build_loss(name, temperature=0.2).eval()
    flat = labels[:6].repeat_interleave(2, dim=0)
    assert float(loss(views, labels[:6])) == pytest.approx(float(loss(views.flatten(0, 1), flat)), rel=1e-13)
    ours = _gradient(loss, views, LabelSets.from_multi_hot(labels[:6]))
    expected = _gradient(loss, views.flatten(0, 1), flat)
    assert (ours.flatten(0, 1) - expected).norm() <= 1e-13 * expected.norm()


def test_a_sample_without_labels_has_no_positive_in_its_other_view() -> None:
    loss = build_loss("sd", temperature=0.2)
    loss(make_inputs(4).view(2, 2, -1), LabelSets.from_lists([[0], []], 1))
    assert float(loss.valid_anchor_fraction) == pytest.approx(0.5)


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_learnable_temperature_follows_its_slope(name: str) -> None:
    z, labels = _batch()
    loss = build_loss(name, temperature=0.3, learnable_temperature=True).double().eval()
    parameter = loss.log_temperature
    assert parameter is not None
    (3 * loss(z, labels)).backward()
    assert parameter.grad is not None
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.copy_(torch.tensor([math.log(0.3) + sign * step], dtype=torch.float64))
        values.append(float(loss(z.detach(), labels)))
    slope = 3 * (values[0] - values[1]) / (2 * step)
    assert float(parameter.grad) == pytest.approx(slope, rel=1e-6)


def test_value_does_not_depend_on_the_cache() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn((1500, 16), generator=generator), dim=1)
    labels = LabelSets.from_multi_hot(torch.rand((1500, 300), generator=generator) < 0.03)
    answers = []
    for cache_mib in (0, 3, 256):
        loss = SimilarityDissimilarityLoss(0.1, cache_mib=cache_mib)
        answers.append((float(loss(z, labels)), _gradient(loss, z, labels)))
    for value, gradient in answers[1:]:
        assert value == answers[0][0]
        assert torch.equal(gradient, answers[0][1])


def test_random_weights_change_with_the_step_and_keep_their_count() -> None:
    z, labels = _batch()
    loss = build_loss("random_weights", temperature=0.2)
    values = [float(loss(z.detach(), labels)) for _ in range(3)]
    assert len(set(values)) == 3
    assert int(loss.state_dict()["step"]) == 3
    again = copy.deepcopy(loss).eval()
    assert float(again(z.detach(), labels)) == float(again(z.detach(), labels))
    again.load_state_dict({"step": torch.tensor(0)})
    assert float(again(z.detach(), labels)) == values[0]


def test_diagnostics_of_a_hand_batch() -> None:
    labels = LabelSets.from_lists([[0, 1], [0, 1], [0], [1, 2]], 3)
    seen = SimilarityDissimilarityLoss(0.2).diagnostics(make_inputs(4), labels)
    assert seen.valid_anchor_fraction == 1
    assert seen.pairs == {"disjoint": 2, "equal": 2, "overlap": 4, "subset": 2, "superset": 2}
    assert seen.mean_weight == pytest.approx(
        {"disjoint": 0, "equal": 1, "overlap": 0.25, "subset": 0.5, "superset": 0.5}
    )
    assert seen.weight_scale == pytest.approx(2 * (1 / 12 + 1 / 24 + 1 / 48) + 2 / 16 + 2 / 32)
    assert AnyLoss(0.2).diagnostics(make_inputs(4), labels).loss_scale == pytest.approx(1)
    flat = seen.flat()
    assert flat["pairs/equal"] == 2
    assert flat["gradient_scale"] == seen.gradient_scale


def test_a_rule_is_required() -> None:
    with pytest.raises(TypeError, match="WeightRule"):
        WeightedContrastiveLoss("any")  # type: ignore[arg-type]
    assert "AnyRule" in repr(WeightedContrastiveLoss(AnyRule()))


def test_cached_backward_on_one_process() -> None:
    encoder = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Dropout(0.4)).double()
    labels = multi_hot_labels([14])
    chunks = list(make_inputs(14).split([5, 1, 8]))
    loss = SimilarityDissimilarityLoss(0.3)
    torch.manual_seed(5)
    value = loss(torch.cat([encoder(chunk) for chunk in chunks]), labels)
    value.backward()
    after = torch.rand(())
    direct = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
    encoder.zero_grad()
    torch.manual_seed(5)
    cached = cached_backward(encoder, chunks, labels, loss)
    assert torch.equal(after, torch.rand(()))
    assert float(cached) == pytest.approx(float(value.detach()), rel=1e-13)
    for parameter, expected in zip(encoder.parameters(), direct, strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - expected).norm() <= 1e-13 * expected.norm()
    with pytest.raises(ValueError, match="rank 0 has none"):
        cached_backward(encoder, [], labels[:0], loss)
