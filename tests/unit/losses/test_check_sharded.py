"""check_sharded tells of losses that hang, raise or die, and goes on; these need real processes."""

from __future__ import annotations

import os
import queue
import sys
import threading
import types

import pytest
from torch import Tensor, nn

from sdl_study import distributed, testing
from sdl_study.losses import AnyLoss
from sdl_study.testing import (
    ProcessFailure,
    ShardedCase,
    ShardedReport,
    check_sharded,
    processes,
    run_processes,
)


class Misbehaving(nn.Module):
    """Does what its name says on the last of several ranks."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        last = distributed.world_size() > 1 and distributed.rank() == distributed.world_size() - 1
        if last and self.how == "raises":
            raise RuntimeError("a fault of its own")
        if last and self.how == "dies":
            os._exit(3)
        if last and self.how == "hangs":
            threading.Event().wait()  # not a collective left out: gloo may find that the next one does not match
        return embeddings.square().sum() * 0 + embeddings.sum()


def raising() -> nn.Module:
    return Misbehaving("raises")


def hanging() -> nn.Module:
    return Misbehaving("hangs")


def answer(value: float) -> tuple[int, float]:
    return distributed.rank(), value


def dying() -> None:
    if distributed.rank() == 1:
        os._exit(3)


def test_a_loss_that_fails_is_told() -> None:
    report = check_sharded(raising, (2,), [(3, 3)], timeout_seconds=30)
    assert not report.exact()
    assert "a fault of its own" in str(report)
    with pytest.raises(AssertionError, match="differs from one process"):
        report.require_exact()


@pytest.mark.slow
def test_the_next_loss_goes_on() -> None:
    losses = {"raises": raising, "any": AnyLoss}
    report = check_sharded(losses, (2,), [(3, 3)], timeout_seconds=30)
    failed, fine = report.cases
    assert failed.problem is not None
    assert "a fault of its own" in failed.problem
    assert fine.is_exact(1e-12)
    assert not report.exact()
    assert report.exact("any")


@pytest.mark.slow
def test_a_loss_that_hangs_is_told() -> None:
    (case,) = check_sharded(hanging, (2,), [(3, 3)], timeout_seconds=10).cases
    assert case.problem is not None
    assert "did not finish in time" in case.problem


def test_processes_answer_by_rank_and_a_dead_one_is_named() -> None:
    assert run_processes(answer, 2, 0.5) == [(0, 0.5), (1, 0.5)]
    with pytest.raises(ProcessFailure, match="rank 1 died with exit code 3"):
        run_processes(dying, 2)


def test_contracts_that_need_more_than_torch_are_imported_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, module in (("EncoderContract", "encoder_contract"), ("SpaceContract", "space_contract")):
        stand_in = types.ModuleType(module)
        setattr(stand_in, name, object())
        monkeypatch.setitem(sys.modules, f"sdl_study.testing.{module}", stand_in)
        assert getattr(testing, name) is getattr(stand_in, name)
    with pytest.raises(AttributeError, match="no attribute 'MoonContract'"):
        _ = testing.MoonContract


def test_world_sizes_and_shards_have_to_meet() -> None:
    with pytest.raises(ValueError, match="has a length in world_sizes"):
        check_sharded(AnyLoss, (2,), [(3, 3, 3)])
    with pytest.raises(ValueError, match="no case is named"):
        ShardedReport((ShardedCase("any", (3, 3), 0.0, 0.0),), 1e-12).exact("all")


def test_a_dead_rank_is_named_before_those_that_fail_for_its_sake() -> None:
    results: queue.SimpleQueue[tuple[int, str | None, str | None]] = queue.SimpleQueue()
    for told in (
        (0, None, None),
        (1, None, None),
        (0, "RuntimeError: connection closed by peer", "traceback"),
    ):
        results.put(told)
    world = [types.SimpleNamespace(exitcode=0), types.SimpleNamespace(exitcode=3)]
    with pytest.raises(ProcessFailure, match="rank 1 died with exit code 3"):
        processes._collect(world, results, 1.0)
