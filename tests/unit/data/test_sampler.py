"""The contrastive sampler: a pure function of seed and epoch, sharded without a change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl_study.data.check import relation_mix, valid_anchor_fractions
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.losses import LabelSets


def zipf_labels(count: int = 2_000, num_labels: int = 400, seed: int = 0) -> LabelSets:
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, num_labels + 1)
    frequency /= frequency.sum()
    return LabelSets.from_lists(
        [rng.choice(num_labels, rng.integers(0, 3), replace=False, p=frequency) for _ in range(count)],
        num_labels,
    )


LABELS = zipf_labels()


@settings(max_examples=60)
@given(
    count=st.integers(1, 200),
    batch=st.integers(1, 70),
    world_size=st.integers(1, 5),
    epoch=st.integers(0, 5),
    label_aware=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_every_example_once_and_the_same_batches_at_any_world_size(
    count: int, batch: int, world_size: int, epoch: int, label_aware: float
) -> None:
    labels = LABELS[:count]

    def sampler(rank: int, world: int) -> ContrastiveSampler:
        return ContrastiveSampler(count, batch, 3, rank, world, labels=labels, label_aware=label_aware)

    alone = list(sampler(0, 1).epoch(epoch))
    ranks = [list(sampler(rank, world_size).epoch(epoch)) for rank in range(world_size)]
    assert sorted(np.concatenate(alone).tolist()) == list(range(count))
    assert [len(step) for step in alone[:-1]] == [batch] * (len(alone) - 1)
    assert len(alone[-1]) == count - batch * (len(alone) - 1)
    for steps in ranks:
        assert len(steps) == sampler(0, 1).steps_per_epoch == len(alone)
    for step, whole in enumerate(alone):
        parts = [steps[step] for steps in ranks]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_seed_and_epoch_decide_the_order_and_nothing_else() -> None:
    def order(seed: int, epoch: int, label_aware: float = 0.0) -> list[int]:
        sampler = ContrastiveSampler(len(LABELS), 64, seed, labels=LABELS, label_aware=label_aware)
        return np.concatenate(list(sampler.epoch(epoch))).tolist()

    for label_aware in (0.0, 1.0):
        assert order(1, 2, label_aware) == order(1, 2, label_aware)
        others = [order(1, 3, label_aware), order(2, 2, label_aware), order(2, 1, label_aware)]
        assert all(order(1, 2, label_aware) != other for other in others)


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    sampler = ContrastiveSampler(1_000, 64, 0, rank=1, world_size=2)
    whole = list(sampler.epoch(4))
    again = list(ContrastiveSampler(1_000, 64, 0, rank=1, world_size=2).epoch(4))[7:]
    for one, other in zip(whole[7:], again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_label_aware_batches_raise_the_valid_anchors() -> None:
    plain, half, full = (valid_anchor_fractions(LABELS, 32, label_aware=share) for share in (0.0, 0.5, 1.0))
    for strategy in ("any", "all"):
        assert plain[strategy] < half[strategy] < full[strategy]
    assert full["any"] > plain["any"] + 0.05
    assert full["all"] > plain["all"] + 0.15


def test_plain_batches_have_the_relations_of_the_data() -> None:
    dense = LABELS.to_multi_hot().numpy()
    shared, size = dense @ dense.T, dense.sum(axis=1)
    pairs = ~np.eye(len(LABELS), dtype=bool)
    equal = (shared > 0) & (shared == size[:, None]) & (shared == size[None])
    subset = (shared > 0) & (shared == size[None]) & ~equal
    mix = relation_mix(LABELS, 256)
    assert sum(mix.values()) == pytest.approx(1)
    assert mix["disjoint"] == pytest.approx((shared == 0)[pairs].mean(), abs=0.02)
    assert mix["equal"] == pytest.approx(equal[pairs].mean(), abs=0.01)
    assert mix["subset"] == pytest.approx(subset[pairs].mean(), abs=0.01)
    assert mix["subset"] == pytest.approx(mix["superset"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "must be positive"),
        ({"global_batch_size": 0}, "must be positive"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not within"),
        ({"label_aware": 1.5}, "share in \\[0, 1\\]"),
        ({"label_aware": 0.5}, "need the labels of all 10"),
        ({"label_aware": 0.5, "labels": LABELS}, "need the labels of all 10"),
    ],
)
def test_unusable_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContrastiveSampler(**{"num_examples": 10, "global_batch_size": 4, "seed": 0, **arguments})
