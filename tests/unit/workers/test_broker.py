"""The broker's promises: an answer per epoch, work that a dead group left is handed out again, ends told once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sdl_study.workers.broker import Broker
from sdl_study.workers.events import Done, Epoch, Event, Failed, Stopped
from sdl_study.workers.job import Job

SOON = 5.0  # a call that has not returned by then hangs


def job(key: str, resumed: bool = False) -> Job:
    return Job(
        key, "trial", "folder", "data", "stores", {}, {"name": "sd", "loss": "sd"}, seed=0, resumed=resumed
    )


def epoch(number: int) -> Epoch:
    return Epoch(number, {})


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, SOON))


async def take(broker: Broker, slot: int = 0) -> Job:
    taken = await broker.next_job(slot, 0.01)
    assert isinstance(taken, Job)
    return taken


async def is_waiting(task: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(0.02)
    return not task.done()


def test_the_answer_to_an_epoch_is_the_request_for_the_next_event() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        report = asyncio.create_task(broker.report("a", 0, epoch(1)))
        assert await broker.next_event("a") == Epoch(1, {}, attempts=1)
        assert await is_waiting(report)  # the scheduler has not decided yet
        following = asyncio.create_task(broker.next_event("a"))
        assert await report is True
        await broker.finish("a", 0, Done({}))
        assert await following == Done({})

    run(scenario())


def test_release_stops_the_group_and_waits_until_it_is_free() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        report = asyncio.create_task(broker.report("a", 0, epoch(1)))
        await broker.next_event("a")
        release = asyncio.create_task(broker.release("a"))
        assert await report is False
        assert await is_waiting(release)
        await broker.finish("a", 0, Stopped())
        await release
        assert await broker.next_job(0, 0.01) == "idle"

    run(scenario())


def test_release_of_a_job_that_no_group_took() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await broker.release("a")
        assert await broker.next_job(0, 0.01) == "idle"
        await broker.release("a")  # twice does no harm

    run(scenario())


def test_resumed_jobs_go_first() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("new"))
        await broker.submit(job("old", resumed=True))
        assert [(await take(broker, slot)).key for slot in (0, 1)] == ["old", "new"]

    run(scenario())


def test_a_job_whose_group_died_goes_to_the_next_group_of_the_slot_as_resumed() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await broker.submit(job("b"))
        assert (await take(broker, slot=0)).resumed is False
        asyncio.create_task(broker.report("a", 0, epoch(1))).cancel()  # the group dies in its report
        assert (await take(broker, slot=1)).key == "b"  # another slot never gets it
        again = await take(broker, slot=0)
        assert (again.key, again.resumed) == ("a", True)
        asyncio.create_task(broker.report("a", 0, epoch(2)))  # noqa: RUF006 (it waits for an answer)
        assert await broker.next_event("a") == Epoch(2, {}, attempts=2)

    run(scenario())


def test_the_machine_is_the_reason_after_the_last_attempt() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=2)
        await broker.submit(job("a"))
        await take(broker)
        await take(broker)
        assert await broker.next_job(0, 0.01) == "idle"
        event = await broker.next_event("a")
        assert isinstance(event, Failed)
        assert (event.kind, event.reason, event.attempts) == ("machine", "machine", 2)

    run(scenario())


def test_the_first_word_about_an_end_counts() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        await broker.finish("a", 0, Failed("bug", "ValueError at x.py:1"))
        await broker.finish("a", 0, Done({}))
        assert await broker.next_event("a") == Failed("bug", "ValueError at x.py:1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(broker.next_event("a"), 0.02)

    run(scenario())


def test_a_job_that_is_submitted_again_is_attached_to_with_its_last_event() -> None:
    """Whoever took the last event may have died before it was written down."""

    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        report = asyncio.create_task(broker.report("a", 0, epoch(1)))
        assert await broker.next_event("a") == epoch(1)
        await broker.submit(job("a"))
        assert await broker.next_event("a") == epoch(1)
        assert await is_waiting(report)

    run(scenario())


def test_abort_ends_every_job_and_every_later_one() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await broker.abort("no group starts")
        await broker.submit(job("b"))
        events: list[Event] = [await broker.next_event(key) for key in ("a", "b")]
        assert events == [Failed("machine", "no group starts")] * 2
        assert await broker.next_job(0, 0.01) is None

    run(scenario())


def test_close_ends_a_waiting_group() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        waiting = asyncio.create_task(broker.next_job(0, 60.0))
        await asyncio.sleep(0)
        await broker.close()
        assert await waiting is None

    run(scenario())
