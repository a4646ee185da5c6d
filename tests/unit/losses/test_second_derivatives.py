"""The contrastive losses give their gradient by a formula: first derivatives are right, second ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdl_study.losses import CONTRASTIVE_LOSSES, AnyLoss, ContrastiveLoss, build_loss
from sdl_study.testing import make_encoder, make_inputs, multi_hot_labels

LABELS = multi_hot_labels([12])
REFUSED = "no second derivative"


def rows() -> Tensor:
    return nn.functional.normalize(make_inputs(12), dim=1).requires_grad_()


def gradients(loss: ContrastiveLoss, z: Tensor, **settings: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(3 * loss(z, LABELS), [z, *loss.parameters()], **settings)


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_first_derivatives_under_create_graph_are_the_same(name: str, learnable: bool) -> None:
    loss = build_loss(name, temperature=0.3, learnable_temperature=learnable).double().eval()
    for plain, with_graph in zip(
        gradients(loss, rows()), gradients(loss, rows(), create_graph=True), strict=True
    ):
        assert torch.equal(plain, with_graph.detach())


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_a_gradient_penalty_is_refused(name: str, learnable: bool) -> None:
    """Also beside terms that have a graph of their own, where the penalty alone was silently constant."""
    loss = build_loss(name, temperature=0.3, learnable_temperature=learnable).double()
    encoder, inputs = make_encoder(), make_inputs(12)
    z = nn.functional.normalize(encoder(inputs), dim=1)
    value = loss(z, LABELS)
    wanted = [z, *encoder.parameters(), *loss.parameters()]
    for gradient in torch.autograd.grad(value, wanted, create_graph=True):
        with pytest.raises(RuntimeError, match=REFUSED):
            (value + z.square().sum() + gradient.square().sum()).backward(retain_graph=True)


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_a_hessian_is_refused(name: str) -> None:
    loss = build_loss(name, temperature=0.3)
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.autograd.functional.hessian(lambda z: loss(z, LABELS), rows().detach())
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.autograd.functional.hvp(lambda z: loss(z, LABELS), rows().detach(), rows().detach())


def test_a_second_derivative_in_the_temperature_is_refused() -> None:
    loss = AnyLoss(0.3, learnable_temperature=True).double()
    parameter = loss.log_temperature
    assert parameter is not None
    (slope,) = torch.autograd.grad(loss(rows().detach(), LABELS), parameter, create_graph=True)
    with pytest.raises(RuntimeError, match=REFUSED):
        slope.sum().backward()


def test_the_gradient_is_linear_in_what_the_loss_is_multiplied_by() -> None:
    z, weight = rows(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (plain,) = torch.autograd.grad(AnyLoss(0.3)(z, LABELS), z)
    (gradient,) = torch.autograd.grad(weight * AnyLoss(0.3)(z, LABELS), z, create_graph=True)
    (slope,) = torch.autograd.grad(gradient.sum(), weight)
    assert float(slope) == pytest.approx(float(plain.sum()), rel=1e-12)


def test_backward_keeps_the_gradient_alone_and_no_hold_on_the_embeddings() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    z = rows()
    copy = z * 1
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = AnyLoss(0.3)(copy, LABELS)
    assert sum(tensor.numel() for tensor in kept) <= z.numel() + 1
    with torch.no_grad():
        copy.zero_()  # what becomes of them after the loss changes nothing
    value.backward()
    assert z.grad is not None
    (expected,) = torch.autograd.grad(AnyLoss(0.3)(rows_again := rows(), LABELS), rows_again)
    assert torch.equal(z.grad, expected)


def test_a_loss_can_be_differentiated_twice_over_the_same_graph() -> None:
    z = rows()
    value = AnyLoss(0.3)(z, LABELS)
    (one,) = torch.autograd.grad(value, z, retain_graph=True)
    (other,) = torch.autograd.grad(value, z)
    assert torch.equal(one, other)
