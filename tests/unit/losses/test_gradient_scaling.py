"""Mixed precision: torch.amp's GradScaler multiplies the loss by 65536, which half precision cannot hold."""

from __future__ import annotations

import pytest
import torch

from sdl_study.losses import build_loss


@pytest.mark.parametrize("name", ["sd", "any", "mulsupcon"])
def test_a_scaled_loss_gives_the_scaled_gradient_in_half_precision(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(256, 16, generator=generator), dim=1).half()
    labels = (torch.rand(256, 20, generator=generator) < 0.1).float()
    loss = build_loss(name, temperature=0.07)
    exact = rows.double().requires_grad_()
    loss(exact, labels).backward()
    half = rows.clone().requires_grad_()
    (loss(half, labels) * 65536.0).backward()
    assert exact.grad is not None
    assert half.grad is not None
    error = (half.grad.double() / 65536.0 - exact.grad).norm() / exact.grad.norm()
    assert error < 2e-3
