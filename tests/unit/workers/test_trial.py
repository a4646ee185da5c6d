"""What a trial's function tells Tune: every event but an end that Tune hears anyway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ray import tune

from sdl_study import trial
from sdl_study.workers.events import Done, Epoch, Event, Failed, Stopped, to_plain
from tests.unit.workers.test_broker import job

EPOCHS = [Epoch(1, {"dev/map": 0.5}), Epoch(2, {"dev/map": 0.6})]


class PlayedLease:
    """A lease whose events are known."""

    events: tuple[Event, ...] = ()

    def __init__(self, leased: Any, broker: str) -> None:
        assert (leased, broker) == (job("a"), "the broker")

    def __enter__(self) -> PlayedLease:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([*EPOCHS, Done({})], EPOCHS),
        ([Done({})], [Done({})]),  # Tune refuses a function that reports nothing
        ([EPOCHS[0], Failed("setting", "NonFiniteLoss")], [EPOCHS[0], Failed("setting", "NonFiniteLoss")]),
        ([EPOCHS[0], Stopped()], [EPOCHS[0], Stopped()]),
    ],
    ids=["to its end", "the end alone", "failed", "stopped"],
)
def test_what_is_reported(events: list[Event], told: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", reported.append)
    monkeypatch.setattr(trial, "Lease", PlayedLease)
    monkeypatch.setattr(PlayedLease, "events", tuple(events))
    trial.run_trial({"job": job("a").to_dict(), "broker": "the broker"})
    assert reported == [{"number": job("a").number, "told": to_plain(event)} for event in told]
