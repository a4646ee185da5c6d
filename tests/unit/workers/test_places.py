"""Where worker groups go, on clusters that are only described."""

from __future__ import annotations

import pytest

from sdl_study.errors import UserError
from sdl_study.workers.places import Cluster, Fewest, NoPlace, Places

GIB = 2.0**30


def needs(count: int) -> Fewest:
    return lambda memory: count


def one_gpu(memory: float) -> int:
    assert memory == 80 * GIB
    return 1


def never(memory: float) -> int:
    raise AssertionError(memory)


@pytest.mark.parametrize(
    ("gpus", "asked", "fewest", "expected"),
    [
        ((8,), None, one_gpu, Places("GPU", 1, 8, "STRICT_PACK")),  # eight GPUs run eight trials
        ((0, 8, 8), None, one_gpu, Places("GPU", 1, 16, "STRICT_PACK")),
        ((8, 8), None, needs(4), Places("GPU", 4, 4, "STRICT_PACK")),
        (
            (2, 3),
            None,
            needs(2),
            Places("GPU", 2, 2, "STRICT_PACK"),
        ),  # a GPU is left rather than a trial cut in two
        ((8, 8), 8, never, Places("GPU", 8, 2, "STRICT_PACK")),
        ((8, 8), 16, never, Places("GPU", 16, 1, "PACK")),  # across machines because it was asked
        ((1, 1, 1, 1), 2, never, Places("GPU", 2, 2, "PACK")),
    ],
)
def test_groups_of_gpus(gpus: tuple[int, ...], asked: int | None, fewest: Fewest, expected: Places) -> None:
    assert Cluster(gpus, (64,) * len(gpus), 80 * GIB).places(asked, fewest) == expected


@pytest.mark.parametrize(
    ("cpus", "asked", "expected"),
    [
        ((1,), None, Places("CPU", 1, 1, "STRICT_PACK")),
        ((8,), None, Places("CPU", 2, 4, "STRICT_PACK")),
        ((8,), 3, Places("CPU", 3, 2, "STRICT_PACK")),
        ((1, 1), None, Places("CPU", 1, 2, "STRICT_PACK")),
        ((1, 1), 2, Places("CPU", 2, 1, "PACK")),
    ],
)
def test_groups_of_cpus(cpus: tuple[int, ...], asked: int | None, expected: Places) -> None:
    assert Cluster((0,) * len(cpus), cpus, 0.0).places(asked, never) == expected


@pytest.mark.parametrize(
    ("gpus", "asked", "fewest", "told"),
    [
        ((4,), 5, never, "5 workers need 5 GPUs, the cluster has 4; ask for fewer with --workers"),
        ((4,), None, needs(8), "8 workers need 8 GPUs, the cluster has 4; ask for fewer with --workers"),
        ((4, 4), None, needs(8), "no machine of the cluster has more than 4; ask for them across machines"),
    ],
)
def test_a_group_that_has_no_place(
    gpus: tuple[int, ...], asked: int | None, fewest: Fewest, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        Cluster(gpus, (64,) * len(gpus), 80 * GIB).places(asked, fewest)


def test_the_machine_is_looked_at_before_its_gpus_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": True, "NodeID": "a", "Resources": {"CPU": 4.0}},
        {"Alive": False, "NodeID": "b", "Resources": {"CPU": 9.0, "GPU": 9.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert Cluster.joined() == Cluster((0,), (4,), 0.0)


def test_trials_that_share_a_gpu() -> None:
    eight = Cluster((0, 2), (8, 8), 80 * GIB)

    def one(memory: float) -> int:
        assert memory == 20 * GIB
        return 1

    assert eight.places(None, one, 4) == Places("GPU", 1, 8, "STRICT_PACK", 4)
    assert Cluster((0,), (4,), 0.0).places(None, never, 4) == Places("CPU", 2, 2, "STRICT_PACK")
    with pytest.raises(UserError, match="trials_per_gpu: a trial does not fit a 4th part of a GPU's memory"):
        eight.places(None, needs(2), 4)


@pytest.mark.parametrize(
    ("places", "cpus", "groups"),
    [
        (Places("CPU", 1, 1, "STRICT_PACK"), (0, 1, 1, 4), 6),
        (Places("CPU", 2, 1, "STRICT_PACK"), (0, 1, 1), 0),
        (Places("CPU", 2, 1, "PACK", may_cross=True), (0, 1, 1), 1),
        (Places("CPU", 2, 1, "SPREAD", may_cross=True), (0, 2, 2), 2),
        (Places("GPU", 1, 8, "STRICT_PACK", 4), (64,), 0),
    ],
)
def test_groups_are_counted_again_as_machines_come_and_go(
    places: Places, cpus: tuple[int, ...], groups: int
) -> None:
    again = places.recounted(Cluster((0,) * len(cpus), cpus, 0.0))
    assert (again.groups, again.workers, again.strategy) == (groups, places.workers, places.strategy)


def test_where_a_group_goes_follows_the_machines() -> None:
    """Across machines while none has as many, on one as soon as one has, and back."""
    asked = Cluster((0, 0), (1, 1), 0.0).places(2, never)
    assert asked == Places("CPU", 2, 1, "PACK")
    one = asked.recounted(Cluster((0, 0, 0), (1, 1, 4), 0.0))
    assert one == Places("CPU", 2, 2, "STRICT_PACK")
    assert one.recounted(Cluster((0, 0), (1, 1), 0.0)) == asked
    alone = one.recounted(Cluster((0, 0), (0, 1), 0.0))
    assert (alone.groups, alone.need) == (0, "2 CPUs")  # a second machine would do, as well as a larger one
    by_default = Cluster((0,), (4,), 0.0).places(None, never)
    assert by_default.recounted(Cluster((0, 0), (1, 1), 0.0)).groups == 0


def test_workers_are_spread_where_that_is_asked_for() -> None:
    two = Cluster((0, 0), (4, 4), 0.0)
    assert two.places(2, never, spread=True) == Places("CPU", 2, 4, "SPREAD")
    assert two.places(None, never, spread=True).strategy == "STRICT_PACK"


def test_a_cluster_without_cpus_has_no_place() -> None:
    with pytest.raises(NoPlace, match="1 worker needs 1 CPU, the cluster has 0") as raised:
        Cluster((0,), (0,), 0.0).places(None, never)
    assert raised.value.needs == "1 CPU"


@pytest.mark.parametrize(
    ("places", "need"),
    [
        (Places("CPU", 1, 1, "STRICT_PACK"), "1 CPU"),
        (Places("GPU", 4, 1, "STRICT_PACK"), "4 GPUs on one machine"),
        (Places("GPU", 4, 1, "PACK"), "4 GPUs"),
        (Places("GPU", 1, 8, "STRICT_PACK", 4), "1/4 GPU"),
    ],
)
def test_what_a_group_needs_in_words(places: Places, need: str) -> None:
    assert places.need == need
    gpu = {"GPU": 1 / places.per_gpu} if places.device == "GPU" else {}
    assert places.bundles == [{"CPU": 1.0, **gpu}] * places.workers
