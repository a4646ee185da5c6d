"""Batch normalisation over the global batch: the same values and gradients at any number of ranks."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn

from sdl_study.distributed import process_group
from sdl_study.models.heads import LinearHead, ProjectionHead
from sdl_study.models.norm import GlobalBatchNorm, GlobalBatchNorm1d, replace_batch_norm

ROWS, FEATURES = 18, 5


def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64) * 3 + 7


def head() -> ProjectionHead:
    torch.manual_seed(11)
    return ProjectionHead(FEATURES, 8, 4).double()


def run(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two training steps' worth of statistics; gradients of a sum over rows of a nonlinear function."""
    model = head()
    rows = rows.clone().requires_grad_(True)
    output = model(rows)
    (output.sin() * torch.arange(4.0, dtype=torch.float64)).sum().backward()
    model(rows.detach() * 2)
    assert rows.grad is not None
    found = {"output": output.detach(), "rows": rows.grad}
    found |= {f"grad:{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {f"buffer:{name}": b for name, b in model.named_buffers()}


def work(rank: int, sizes: list[int], folder: str) -> None:
    with process_group("gloo", rank, len(sizes), f"{folder}/store"):
        start = sum(sizes[:rank])
        torch.save(run(batch()[start : start + sizes[rank]]), f"{folder}/{rank}.pt")


@pytest.mark.parametrize("sizes", [[9, 9], [9, 4, 5], [18, 0]])
def test_any_sharding_gives_the_single_process_values_and_gradients(sizes: list[int], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(rank, sizes, str(tmp_path))) for rank in range(len(sizes))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    shards = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(sizes))]
    expected = run(batch())
    for name, value in expected.items():
        if name in ("output", "rows"):
            got = torch.cat([shard[name] for shard in shards])
        elif name.startswith("grad:"):
            got = torch.stack([shard[name] for shard in shards]).sum(dim=0)
        else:
            got = shards[-1][name]
        torch.testing.assert_close(
            got, value, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("shape", [(12, 5), (6, 5, 4, 3)])
def test_equals_torchs_batch_norm_in_one_process(shape: tuple[int, ...]) -> None:
    ours, theirs = (
        GlobalBatchNorm(5).double(),
        (nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)).double(),
    )
    x = torch.randn(shape, dtype=torch.float64) * 2 - 3
    for _ in range(3):
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


def test_one_row_gives_the_bias_and_an_empty_batch_leaves_the_statistics() -> None:
    norm = GlobalBatchNorm1d(3)
    assert torch.equal(norm(torch.randn(1, 3)), torch.zeros(1, 3))
    before = norm.running_mean.clone(), norm.running_var.clone()
    assert norm(torch.zeros(0, 3)).shape == (0, 3)
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])


def test_half_precision_input_is_normalised_in_float32() -> None:
    x = (torch.randn(64, 4) * 0.01 + 100).bfloat16()
    output = GlobalBatchNorm1d(4)(x)
    assert output.dtype == torch.bfloat16
    assert torch.isfinite(output).all()


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        GlobalBatchNorm1d(3)(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"\[n, 3, \.\.\.\]"):
        GlobalBatchNorm(3)(torch.zeros(2, 4))


@pytest.mark.parametrize("norm", ["group", "sync", "frozen"])
def test_replacement_leaves_no_plain_batch_norm(norm: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6)))
    for _ in range(3):
        model(torch.randn(8, 3, 4, 4) + 2)
    x = torch.randn(2, 3, 4, 4)
    before = model.eval()(x)
    assert replace_batch_norm(model, norm, groups=4) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    if norm != "group":  # running statistics are kept, so evaluation does not change
        torch.testing.assert_close(model.eval()(x), before)
    if norm == "frozen":
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.train()(x)
        assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())
    with pytest.raises(ValueError, match="group, sync, frozen"):
        replace_batch_norm(model, "batch")


def test_heads_have_the_shapes_asked_for() -> None:
    x = torch.randn(7, 5)
    assert ProjectionHead(5, 9, 3)(x).shape == (7, 3)
    assert not any(isinstance(m, GlobalBatchNorm) for m in ProjectionHead(5, 9, 3, norm="none").modules())
    assert LinearHead(5, 2)(x).shape == (7, 2)
    with pytest.raises(ValueError, match="batch, none"):
        ProjectionHead(5, 9, 3, norm="layer")  # type: ignore[arg-type]
