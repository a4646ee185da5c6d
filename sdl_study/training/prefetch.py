"""Inputs made ready by a thread while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 2


@contextmanager
def prefetched(items: Iterable[Item], make: Callable[[Item], Made]) -> Iterator[Iterator[Made]]:
    """``make(item)`` of every item, in order, up to two of them ahead of who asks.

    The items themselves are taken in the caller's thread, ``make`` runs in another one, one item at a time: what
    comes out does not depend on the timing. What ``make`` raises is raised where its result is asked for; the thread
    has ended when the block is left.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        yield _in_turn(items, make, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_turn(items: Iterable[Item], make: Callable[[Item], Made], pool: ThreadPoolExecutor) -> Iterator[Made]:
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
