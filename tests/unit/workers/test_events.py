"""Events survive the ways that they take: plain values, a file, and Tune, which flattens and adds its own."""

from __future__ import annotations

import json

import pytest
from ray.tune.utils import flatten_dict

from sdl_study.trial import reported
from sdl_study.workers.events import Done, Epoch, Event, Failed, Stopped, from_plain, to_plain

EVENTS = [
    Epoch(3, {"dev/map": 0.5, "train/loss": 1.25, "seconds": 2.0}, attempts=2),
    Epoch(1, {"plain": 0.0}),
    Done({"objective": 0.5}),
    Done({"metrics": {"dev/map": 0.5, "probe/l2": 0.01}, "workers": 2, "device": "cpu"}, attempts=3),
    Done({}),
    Stopped(attempts=2),
    Failed("setting", "NonFiniteLoss at sdl_study/training/step.py:1"),
    Failed("machine", "no group starts", attempts=3),
    Failed("bug", "ValueError"),
]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_comes_back_from_plain_values_and_from_a_file(event: Event) -> None:
    assert from_plain(to_plain(event)) == event
    assert from_plain(json.loads(json.dumps(to_plain(event)))) == event


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_comes_back_from_tune(event: Event) -> None:
    result = {"number": 7, "told": to_plain(event)}
    of_tune = {"training_iteration": 3, "pid": 1, "config": {"job": {"key": "a"}}, "epoch": 99, "event": "x"}
    assert reported(flatten_dict({**of_tune, **result})) == event


def test_the_reason_of_a_machines_failure_is_one_word_and_any_other_is_its_place() -> None:
    assert Failed("machine", "a worker group died 5 times").reason == "machine"
    for kind in ("setting", "bug"):
        assert Failed(kind, "ValueError at a.py:1").reason == "ValueError at a.py:1"


def test_no_meaning_in_the_first_letters_of_a_place() -> None:
    """An exception of the data's own that is called like one of the setting's stays what it is."""
    told = from_plain(to_plain(Failed("bug", "NonFiniteLossOfFaith at a.py:1")))
    assert isinstance(told, Failed)
    assert told.kind == "bug"
    assert from_plain(to_plain(Failed("bug", "machine"))) == Failed("bug", "machine")


@pytest.mark.parametrize("plain", [{}, {"event": "finished"}, {"event": None}])
def test_what_is_no_event_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no event"):
        from_plain(plain)
