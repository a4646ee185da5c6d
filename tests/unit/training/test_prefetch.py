"""Inputs made ready ahead: in order, by one thread that never outlives its block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sdl_study.training.prefetch import prefetched


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_items_come_in_order_made_by_another_thread_one_at_a_time() -> None:
    made: list[tuple[int, str]] = []

    def make(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        made.append((item, threading.current_thread().name))
        return item * item

    with prefetched(range(9), make) as ready:
        assert list(ready) == [item * item for item in range(9)]
    assert [item for item, _ in made] == list(range(9))
    assert {name for _, name in made} == {"prefetch_0"}
    assert threads() == []


def test_the_next_items_are_made_while_one_is_used_and_not_all() -> None:
    begun = threading.Semaphore(0)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    def make(item: int) -> int:
        begun.release()
        return item

    with prefetched(items(), make) as ready:
        assert next(ready) == 0
        for _ in range(3):  # the one asked for and two ahead, without being asked again
            assert begun.acquire(timeout=10)
        assert taken == [0, 1, 2]


def test_no_item_is_no_result() -> None:
    with prefetched([], str) as ready:
        assert list(ready) == []


def test_what_making_raises_is_raised_where_its_result_is_asked_for() -> None:
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    with prefetched(range(5), make) as ready:
        assert [next(ready), next(ready)] == [0, 1]
        with pytest.raises(ValueError, match="item 2"):
            next(ready)
    assert threads() == []


def broken_off() -> None:
    with prefetched(range(50), lambda item: item) as ready:
        raise KeyError(next(ready))


def test_no_thread_is_left_when_the_user_raises() -> None:
    with pytest.raises(KeyError):
        broken_off()
    assert threads() == []
