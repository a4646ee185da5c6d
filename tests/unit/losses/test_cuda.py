"""The same tile loop on a CUDA device: value and gradient of every contrastive loss against the CPU."""

from __future__ import annotations

import pytest
import torch

from sdl_study.losses import CONTRASTIVE_LOSSES, LabelSets, build_loss, tiles

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("cache_mib", [256, 0])
@pytest.mark.parametrize("temperature", [0.2, 0.005])
@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_cuda_equals_the_cpu(
    name: str, temperature: float, cache_mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "ACCELERATOR_EDGE", 256)
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(
        torch.randn((700, 32), generator=generator, dtype=torch.float64), dim=1
    )
    labels = LabelSets.from_multi_hot(torch.rand((700, 500), generator=generator) < 0.01)
    answers = []
    for device in ("cpu", "cuda"):
        z = rows.to(device, copy=True).requires_grad_()
        loss = build_loss(name, temperature=temperature, cache_mib=cache_mib)(z, labels)
        loss.backward()
        assert z.grad is not None
        answers.append((float(loss.detach()), z.grad.cpu()))
    (value, gradient), (ours, our_gradient) = answers
    assert ours == pytest.approx(value, rel=1e-11)
    assert (our_gradient - gradient).norm() <= 1e-11 * gradient.norm()
