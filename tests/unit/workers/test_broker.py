"""The broker's promises: an answer per epoch, work that a dead group left is handed out again, ends told once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sdl_study.workers.broker import Broker, Left, Member
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


async def take(broker: Broker, group: int = 0) -> Job:
    taken = await broker.next_job(group, 0.01)
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
        assert [(await take(broker, group)).key for group in (0, 1)] == ["old", "new"]

    run(scenario())


def test_a_job_whose_group_died_goes_to_the_head_of_the_queue_that_all_groups_share() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        for key in ("a", "b", "c"):
            await broker.submit(job(key))
        assert (await take(broker, 0)).resumed is False
        assert (await take(broker, 1)).key == "b"
        asyncio.create_task(broker.report("a", 0, epoch(1))).cancel()  # the group dies in its report
        assert await broker.left(0, counts=True) == Left(steps=0, key="a", members=())
        again = await take(broker, 2)  # of another slot, before the new job
        assert (again.key, again.resumed) == ("a", True)
        asyncio.create_task(broker.report("a", 2, epoch(2)))  # noqa: RUF006 (it waits for an answer)
        assert await broker.next_event("a") == Epoch(2, {}, attempts=2)

    run(scenario())


def test_a_group_that_is_gone_takes_no_job_and_decides_nothing() -> None:
    """Its question may still wait for a job, and its machine may come back after it was taken for dead."""

    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        asks = asyncio.create_task(broker.next_job(0, SOON))
        await asyncio.sleep(0)
        await broker.left(0, counts=True)
        await broker.submit(job("a"))
        assert await asks is None
        await take(broker, 1)
        await broker.left(1, counts=True)
        await take(broker, 2)
        assert await broker.report("a", 1, epoch(1)) is False
        await broker.finish("a", 1, Stopped())
        await broker.finish("a", 2, Done({}))
        assert await broker.next_event("a") == Done({}, attempts=2)

    run(scenario())


def test_the_machine_is_the_reason_after_the_last_attempt() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=2)
        await broker.submit(job("a"))
        for group in (0, 1):
            await take(broker, group)
            assert (
                await broker.left(group, counts=group == 0)
            ).key == "a"  # a lost machine is no failure of it
        await take(broker, 2)
        given_up = await broker.left(2, counts=True)
        assert given_up == Left(steps=1, key=None, members=())  # which is progress
        assert await broker.next_job(3, 0.01) == "idle"
        event = await broker.next_event("a")
        assert isinstance(event, Failed)
        assert (event.kind, event.reason, event.attempts) == ("machine", "machine", 3)

    run(scenario())


def test_what_a_group_was_is_known_when_it_is_gone() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        member = Member(0, "node", "10.0.0.1")
        await broker.joined(4, member)
        assert await broker.members(4) == (member,)
        await broker.submit(job("a"))
        await take(broker, 4)
        await broker.finish("a", 4, Done({}))
        assert await broker.left(4, counts=True) == Left(1, None, (member,))
        await broker.halt("the disk is full")
        await broker.halt("a later one")
        assert await broker.halted() == "the disk is full"

    run(scenario())


def test_a_job_that_is_released_while_its_group_dies_is_over() -> None:
    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        release = asyncio.create_task(broker.release("a"))
        assert await is_waiting(release)
        assert (await broker.left(0, counts=True)).key is None
        await release
        assert await broker.next_job(1, 0.01) == "idle"

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


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_who_died_while_it_waited_takes_nothing_from_the_next(epochs_before: int) -> None:
    """Ray goes on with the question of a process that is gone; an epoch may take long, so mostly one is open."""

    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        reports = []
        for number in range(1, epochs_before + 1):
            reports.append(asyncio.create_task(broker.report("a", 0, epoch(number))))
            assert await broker.next_event("a") == epoch(number)
        of_the_dead = asyncio.create_task(broker.next_event("a"))
        assert await is_waiting(of_the_dead)
        assert await asyncio.gather(*reports) == [True] * epochs_before

        await broker.submit(job("a"))
        assert await of_the_dead == Stopped()
        following = asyncio.create_task(broker.next_event("a"))
        assert await is_waiting(following)  # what was recorded does not come again
        report = asyncio.create_task(broker.report("a", 0, epoch(epochs_before + 1)))
        assert await following == epoch(epochs_before + 1)
        assert await is_waiting(report)
        following = asyncio.create_task(broker.next_event("a"))
        assert await report is True
        await broker.finish("a", 0, Done({}))
        assert await following == Done({})

    run(scenario())


def test_an_epoch_that_came_before_the_next_is_there_is_kept_for_it() -> None:
    """And is decided by it alone."""

    async def scenario() -> None:
        broker = Broker(max_attempts=3)
        await broker.submit(job("a"))
        await take(broker)
        of_the_dead = asyncio.create_task(broker.next_event("a"))
        assert await is_waiting(of_the_dead)
        report = asyncio.create_task(broker.report("a", 0, epoch(1)))
        assert await of_the_dead == epoch(1)  # nobody reads it
        await broker.submit(job("a"))
        assert await broker.next_event("a") == epoch(1)
        assert await is_waiting(report)
        await asyncio.gather(broker.release("a"), broker.finish("a", 0, Stopped()))
        assert await report is False

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
