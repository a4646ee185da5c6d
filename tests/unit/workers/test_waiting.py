"""Waiting for the first group of a cluster that was joined, with Ray's part played."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.workers import waiting
from sdl_study.workers.places import Cluster, Places
from sdl_study.workers.waiting import Patience, first_places, limit_seconds


class Clock:
    """Time that passes while it is slept."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    monkeypatch.setattr(waiting, "pending", lambda: "; the autoscaler has more")
    wants: list[Any] = []
    monkeypatch.setattr(waiting, "placement_group", lambda *given, **_: wants.append(given) or wants)
    monkeypatch.setattr(waiting, "remove_placement_group", lambda group: group.pop())
    yield made
    assert wants == []  # nothing is asked of the cluster any more


def joins_at(seconds: float, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def joined() -> Cluster:
        return Cluster((0,), (0,), 0.0) if clock.now < seconds else Cluster((0, 0), (0, 2), 0.0)

    monkeypatch.setattr(waiting.Cluster, "joined", joined)


def never(memory: float) -> int:
    raise AssertionError(memory)


def of(workers: int | None) -> Callable[[Cluster], Places]:
    return lambda cluster: cluster.places(workers, never)


def test_a_cluster_without_any_cpu_is_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    joins_at(12.0, clock, monkeypatch)
    said: list[str] = []
    _, places = first_places(of(2), 2, said.append, "auto")
    assert places == Places("CPU", 2, 1, "STRICT_PACK")
    line = "waits for machines: a group needs 2 CPUs, the cluster has 1 machine with 0 CPUs; the autoscaler has more"
    assert said == [f"{line} (for 5 s)", f"{line} (for 10 s)"]


def test_nothing_is_said_where_nothing_is_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    joins_at(0.0, clock, monkeypatch)
    said: list[str] = []
    assert first_places(of(None), 1, said.append, "auto")[1].workers == 2
    assert said == []


def test_the_limit_ends_in_one_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_WAIT_MINUTES", "1")
    joins_at(99.0, clock, monkeypatch)
    with pytest.raises(UserError) as raised:
        first_places(of(2), 2, lambda _: None, "auto")
    assert clock.now == 60.0
    text = str(raised.value)
    assert text.startswith(
        "--address auto: no worker group had a place within 60 s: a group needs 2 CPUs, the cluster has "
    )
    assert text.endswith("add machines, ask for fewer with --workers, or wait longer with SDL_WAIT_MINUTES")


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_a_limit_that_is_no_time_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_WAIT_MINUTES", given)
    with pytest.raises(UserError, match=f"^SDL_WAIT_MINUTES={given}: needs a number of minutes"):
        limit_seconds()


def test_the_limit_is_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_WAIT_MINUTES", raising=False)
    assert limit_seconds() == 1800.0


def test_who_waits_long_hears_of_it_seldom(clock: Clock) -> None:
    said: list[str] = []
    patience = Patience(said.append)
    for _ in range(3600):
        patience.tell("waits")
        clock.sleep(1.0)
    assert len(said) < 15
    assert said[:3] == ["waits (for 5 s)", "waits (for 15 s)", "waits (for 35 s)"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, ""),
        ({}, "; the autoscaler starts none"),
        (
            {
                "pending_launches": {"gpu": 2},
                "pending_nodes": [["10.0.0.1", "gpu", "setting-up"]],
                "failed_nodes": [],
            },
            "; the autoscaler has 2 asked for, 1 starting",
        ),
        ({"failed_nodes": [["10.0.0.1", "gpu"]]}, "; the autoscaler has 1 failed"),
    ],
)
def test_what_the_autoscaler_says(
    status: dict[str, Any] | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = None if status is None else json.dumps({"autoscaler_report": status}).encode()
    monkeypatch.setattr(waiting, "_internal_kv_get", lambda key: said)
    assert waiting.pending() == words


@pytest.mark.parametrize(("ready_after", "ends_after", "found"), [(2, 9, True), (9, 2, False)])
def test_a_place_is_given_back_before_its_group_takes_it(
    ready_after: int, ends_after: int, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    removed: list[object] = []
    pauses: list[float] = []

    def table(asked: object) -> dict[str, str]:
        looks.append(asked)
        return {"state": "CREATED" if len(looks) > ready_after else "PENDING"}

    group = SimpleNamespace()
    monkeypatch.setattr(waiting, "placement_group_table", table)
    monkeypatch.setattr(waiting.time, "sleep", pauses.append)
    monkeypatch.setattr(waiting, "placement_group", lambda bundles, strategy: group)
    monkeypatch.setattr(waiting, "remove_placement_group", removed.append)
    ends: Callable[[], bool] = lambda: len(looks) > ends_after  # noqa: E731
    assert waiting.place_for(Places("GPU", 2, 1, "PACK"), ends, lambda: None) is found
    assert removed == [group]
    assert pauses == [
        0.02,
        0.04,
    ]  # it looks away in between: a waiting group costs Ray's head next to nothing
