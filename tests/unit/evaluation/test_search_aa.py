"""The A/A simulation on a made pool: one search is wrong often, several are not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.search_aa import ARM, CONFIGURATIONS, Pool, configurations, side, study
from tests.unit.study.fakes import small_study


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Settings differ by .08, seeds by .01, images by .005; dev tells a setting's worth roughly."""
    generator = np.random.default_rng(0)
    worth = 0.5 + 0.08 * generator.normal(size=40)
    test = worth[:, None, None] + 0.01 * generator.normal(size=(40, 3, 1))
    images = 0.005 * generator.normal(size=(1, 1, 101))
    images[..., 0] = 0
    return Pool(worth + 0.02 * generator.normal(size=40), test + images, 300)


@pytest.mark.parametrize(("searches", "studies", "least", "most"), [(1, 60, 0.2, 1.0), (3, 600, 0.02, 0.065)])
def test_how_often_it_is_wrong(pool: Pool, searches: int, studies: int, least: float, most: float) -> None:
    generator = np.random.default_rng(1)
    told = [study(pool, 6, searches, generator)[0] for _ in range(studies)]
    assert least <= np.mean(told) <= most


def test_a_side_shows_the_best_on_dev_of_every_search(pool: Pool) -> None:
    generator = np.random.default_rng(3)
    drawn = np.random.default_rng(3).integers(40, size=(2, 3))
    best = [max(row, key=lambda number: pool.dev[number]) for row in drawn.tolist()]
    found = side(pool, 6, 2, np.array([0, 2]), generator)
    assert np.array_equal(found, pool.test[best, [0, 2]])


def test_the_configurations_are_always_the_same() -> None:
    space = small_study(arms=(ARM,)).space
    first, again = configurations(space), configurations(space)
    assert first == again
    assert len(first) == CONFIGURATIONS
    assert len({str(sorted(found.items())) for found in first}) == CONFIGURATIONS


def test_where_nothing_varies_there_is_no_verdict() -> None:
    """Two settings that differ by the same on every seed and image."""
    flat = Pool(np.array([0.1, 0.2]), np.broadcast_to(np.array([0.5, 0.6])[:, None, None], (2, 3, 11)), 20)
    generator = np.random.default_rng(0)
    told = [study(flat, 2, 2, generator) for _ in range(40)]
    without = [wrong for wrong, detectable in told if np.isnan(detectable)]
    assert 0 < len(without) < 40
    assert not any(without)
