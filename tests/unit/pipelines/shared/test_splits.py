"""Own splits by a hash."""

from __future__ import annotations

import pytest

from pipelines.shared.splits import hash_split, hash_splits


def test_the_hash_is_this_on_every_machine() -> None:
    found = [hash_split(str(patient)) for patient in range(10_000, 10_012)]
    assert found == [
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
    ]


def test_shares_are_kept() -> None:
    splits = list(hash_splits(str(i) for i in range(20_000)).values())
    for split, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.01)
