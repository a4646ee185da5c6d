"""Relations of label sets as reports have them are those of the losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from sdl_study.losses.relations import RELATIONS as OF_THE_LOSSES
from sdl_study.record.relations import RELATIONS, relations_of
from tests.golden.oracle import relation


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_has_its_relation(seed: int) -> None:
    truth = np.random.default_rng(seed).random((20, 4)) < 0.4
    truth[:2] = False  # two without a label: disjoint with all, each other too
    sets = [set(np.flatnonzero(row).tolist()) for row in truth]
    found = relations_of(csr_array(truth.astype(np.int64)))
    assert [[RELATIONS[place] for place in row] for row in found] == [
        [relation(s, t) for t in sets] for s in sets
    ]
    assert set(np.unique(found)) == set(range(len(RELATIONS)))


def test_they_have_the_losses_names() -> None:
    assert RELATIONS == OF_THE_LOSSES
