"""Loss and parameter gradients on 2, 3 and 4 real processes against one, and the mistakes this has to catch."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Any

import pytest
import torch

from sdl_study.testing import ShardedReport, check_sharded, multi_hot_labels
from sdl_study.testing.sharded import EMBEDDING_SIZE
from tests.distributed.worlds import (
    BAD_CASES,
    BAD_NAMES,
    LOSSES,
    SHARDS,
    TWO_VIEW_SHARDS,
    VIEW_NAMES,
    diagnostics,
    half_step,
    views_step,
)
from tests.distributed.wrong_variants import WRONG, NaiveAny, any_at_same_temperature

Worlds = dict[int, list[dict[str, Any]]]
FSDP_SHARDS = [(9, 4), (64, 0)]
SIX_LABELS = partial(multi_hot_labels, num_labels=EMBEDDING_SIZE)
"""As many labels as the encoder's outputs have numbers, so that these serve as embeddings and as logits."""


@pytest.fixture(scope="module")
def under_ddp() -> ShardedReport:
    """Every loss, the wrong variants, and the right form of these, in one start of each world."""
    losses = {**LOSSES, **WRONG, "naive": NaiveAny, "any .2": any_at_same_temperature}
    return check_sharded(losses, (2, 3, 4), SHARDS, labels=SIX_LABELS, timeout_seconds=250)


def _case(report: ShardedReport, name: str, shards: tuple[int, ...]) -> Any:
    return next(case for case in report.cases if case.name == name and case.shards == shards)


@pytest.mark.parametrize("shards", SHARDS, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_one_process_under_ddp(under_ddp: ShardedReport, name: str, shards: tuple[int, ...]) -> None:
    case = _case(under_ddp, name, shards)
    assert case.problem is None
    assert case.loss_error <= 1e-12
    assert case.gradient_error <= 1e-12


def test_all_worlds_ran(under_ddp: ShardedReport, worlds: Worlds) -> None:
    assert {case.shards for case in under_ddp.cases} == set(SHARDS)
    assert len(under_ddp.cases) == len(SHARDS) * (len(LOSSES) + len(WRONG) + 2)
    pids = [answer["pid"] for answers in worlds.values() for answer in answers]
    assert sorted(worlds) == [2, 3]
    assert len({os.getpid(), *pids}) == 6
    assert [[answer["world"] for answer in answers] for answers in worlds.values()] == [[2, 2], [3, 3, 3]]


@pytest.mark.parametrize("shards", [s for s in SHARDS if 0 not in s], ids=str)
def test_wrong_variants_are_caught(under_ddp: ShardedReport, shards: tuple[int, ...]) -> None:
    world = len(shards)
    missing = _case(under_ddp, "without world scale", shards)
    assert missing.gradient_error == pytest.approx(1 - 1 / world, abs=1e-9)
    assert missing.loss_error <= 1e-12
    assert _case(under_ddp, "candidates without gradient", shards).gradient_error > 0.05
    assert _case(under_ddp, "naive", shards).is_exact(1e-12)
    for name in ("without world scale", "candidates without gradient"):
        assert not under_ddp.exact(name)


@pytest.mark.parametrize("shards", [(9, 9), (9, 4), (8, 8, 3), (7, 7, 7, 2)], ids=str)
def test_a_local_mean_is_caught(under_ddp: ShardedReport, shards: tuple[int, ...]) -> None:
    # the last rank has no valid anchor at all, so a mean of local means is wrong even for equal shards
    assert _case(under_ddp, "local mean", shards).gradient_error > 0.03
    assert not under_ddp.exact("local mean")


def test_two_forms_of_one_loss_have_one_gradient(under_ddp: ShardedReport) -> None:
    assert under_ddp.exact("naive")
    assert under_ddp.exact("any .2")


def test_equals_one_process_under_fsdp2() -> None:
    report = check_sharded(LOSSES, (2,), FSDP_SHARDS, labels=SIX_LABELS, parallel="fsdp", timeout_seconds=250)
    report.require_exact()
    assert len(report.cases) == len(FSDP_SHARDS) * len(LOSSES)


@pytest.mark.slow
def test_equals_one_process_under_fsdp2_on_three_and_four_processes() -> None:
    check_sharded(
        LOSSES, (3, 4), SHARDS, labels=SIX_LABELS, parallel="fsdp", timeout_seconds=400
    ).require_exact()


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_float32_is_near_one_process(parallel: Any) -> None:
    names = {name: LOSSES[name] for name in ("sd", "mulsupcon", "all", "random_weights")}
    report = check_sharded(
        names, (2, 3, 4), SHARDS, dtype=torch.float32, parallel=parallel, tolerance=3e-6, timeout_seconds=250
    )
    report.require_exact()


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", VIEW_NAMES)
def test_two_views_equal_one_process(worlds: Worlds, world: int, name: str) -> None:
    loss, gradient = views_step(None, TWO_VIEW_SHARDS[world], name)
    for answer in worlds[world]:
        ours, our_gradient = answer[f"views/{name}"]
        assert math.isclose(ours, loss, rel_tol=1e-12)
        assert (our_gradient - gradient).norm() <= 1e-12 * gradient.norm()


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_cached_backward_equals_the_direct_step(
    worlds: Worlds, world: int, parallel: str, dropout: float
) -> None:
    for answer in worlds[world]:
        cached = answer[f"cached/{parallel}/{dropout}"]
        value, gradient, slope, random_state, direct, direct_gradient, direct_slope, direct_state = cached
        assert math.isclose(value, direct, rel_tol=1e-12)
        assert (gradient - direct_gradient).norm() <= 1e-12 * direct_gradient.norm()
        assert math.isclose(slope, direct_slope, rel_tol=1e-6)  # a float32 number the optimiser sees
        assert random_state == direct_state


@pytest.mark.parametrize("world", [2, 3])
def test_bfloat16_equals_one_process(worlds: Worlds, world: int) -> None:
    shards = TWO_VIEW_SHARDS[world]
    loss, gradient = half_step(None, shards)
    parts = [answer["half"] for answer in worlds[world]]
    assert all(math.isclose(value, loss, rel_tol=1e-6) for value, _ in parts)
    together = torch.cat([part for _, part in parts])
    assert (together - gradient).norm() <= 2.0**-8 * gradient.norm()  # bfloat16 keeps eight bits


NAMED = {
    "nan": "row 2",
    "length": "row 3",
    "dtype": "int64",
    "kind": "list",
}
"""What the error of the rank with the wrong input names, where that rank alone can tell."""


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("case", BAD_CASES)
def test_wrong_input_on_one_rank_stops_all(worlds: Worlds, world: int, name: str, case: str) -> None:
    told = [answer[f"bad/{name}/{case}"] for answer in worlds[world]]
    assert all("Error: " in line for line in told), told
    assert NAMED.get(case, "") in told[-1]
    if case in NAMED:
        assert all("rank" in line and "its own error names" in line for line in told[:-1]), told


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_that_disagree_say_about_what(worlds: Worlds, world: int) -> None:
    for case, of_sd, of_bce in (
        ("width", "embedding sizes D are [5,", "wrong input"),  # logits that do not fit their own labels
        ("labels", "numbers of labels L are [5,", "wrong input"),
        ("both", "embedding sizes D are [5,", "the ranks disagree: this one has 5 labels"),
    ):
        assert of_sd in worlds[world][0][f"bad/sd/{case}"]
        assert of_bce in worlds[world][0][f"bad/bce/{case}"]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_diverged_rank_is_one_error_on_all(worlds: Worlds, world: int, name: str) -> None:
    kinds = [answer[f"bad/{name}/nan"].partition(":")[0] for answer in worlds[world]]
    assert kinds == ["NonFiniteEmbeddingsError"] * world
    # where an input is wrong as well, that is what stops all of them
    kinds = [answer[f"bad/{name}/nan and length"].partition(":")[0] for answer in worlds[world]]
    assert kinds == ["ValueError"] * world


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", ["sd", "all", "mulsupcon"])
def test_diagnostics_equal_one_process(worlds: Worlds, world: int, name: str) -> None:
    expected = diagnostics(None, TWO_VIEW_SHARDS[world], name)
    for answer in worlds[world]:
        assert answer[f"diagnostics/{name}"] == pytest.approx(expected, rel=1e-12)


def test_a_process_group_of_its_own(worlds: Worlds) -> None:
    shared, alone = zip(*[answer["subgroup"] for answer in worlds[3]], strict=True)
    assert shared == pytest.approx([shared[2]] * 3, rel=1e-12)
    assert len(set(alone)) == 1
    assert alone[0] != shared[0]
