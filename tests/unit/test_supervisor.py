"""Backoff and restarts, on the event loop's own clock."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from vochi_agent.errors import ConnectionLost, CrmAuthFailed, LoginRefused, NotReachable, VochiError
from vochi_agent.supervisor import Backoff, bulkhead, keep_running


def quick() -> Backoff:
    return Backoff(0.001, 0.002)


class Lives:
    """A task that ends as told, life after life; an `up` before the failure means that it reached its peer."""

    def __init__(self, *script: tuple[bool, Exception]) -> None:
        self.script = list(script)
        self.lived = 0

    async def run(self, up: Callable[[], None]) -> None:
        """One life."""
        self.lived += 1
        if not self.script:
            up()
            return
        reached, failure = self.script.pop(0)
        if reached:
            up()
        raise failure


def test_waits_double_up_to_the_longest_and_start_over() -> None:
    backoff = Backoff(0.2, 5.0, jitter=lambda: 1.0)

    assert [backoff.next_wait() for _ in range(7)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    backoff.reset()
    assert backoff.next_wait() == pytest.approx(0.2)


def test_jitter_takes_up_to_half_of_a_wait_away() -> None:
    assert Backoff(0.2, jitter=lambda: 0.0).next_wait() == pytest.approx(0.1)
    assert Backoff(0.2, jitter=lambda: 0.5).next_wait() == pytest.approx(0.15)


async def test_an_outage_has_one_warning_and_one_recovery(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lives = Lives(*[(False, NotReachable("refused"))] * 5)

    await keep_running("AMI x", lives.run, backoff=quick())

    assert lives.lived == 6
    assert [(record.levelname, record.__dict__["action"]) for record in caplog.records] == [
        ("WARNING", "service_lost"),
        ("INFO", "service_back"),
    ]


async def test_a_refusal_is_one_error_even_inside_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lives = Lives(
        (False, NotReachable("down")),
        (False, LoginRefused("no")),
        (False, LoginRefused("no")),
        (False, NotReachable("down")),
        (False, LoginRefused("no")),
    )

    await keep_running("AMI x", lives.run, backoff=quick(), refused_wait=0.001)

    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]


async def test_the_next_outage_is_announced_again(caplog: pytest.LogCaptureFixture) -> None:
    lives = Lives((True, ConnectionLost("1")), (True, ConnectionLost("2")))

    await keep_running("AMI x", lives.run, backoff=quick())

    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"] * 2


async def test_which_failures_pass_is_the_callers_choice() -> None:
    lives = Lives((False, CrmAuthFailed("key")))
    with pytest.raises(CrmAuthFailed):
        await keep_running("CRM", lives.run, backoff=quick())
    lives = Lives((False, CrmAuthFailed("key")))

    await keep_running("CRM", lives.run, refused=(CrmAuthFailed,), refused_wait=0.001)

    assert lives.lived == 2


@pytest.mark.parametrize("failure", [KeyError("bug"), VochiError("not foreseen")])
async def test_what_nobody_foresaw_ends_the_daemon(failure: Exception) -> None:
    with pytest.raises(type(failure)):
        await keep_running("AMI x", Lives((True, failure)).run, backoff=quick())


class Recorded(Backoff):
    """Counts resets."""

    resets = 0

    def reset(self) -> None:
        """Count and reset."""
        self.resets += 1
        super().reset()


async def test_a_peer_that_drops_us_at_once_does_not_shorten_the_waits() -> None:
    backoff = Recorded(0.001, 0.01)

    await keep_running("AMI x", Lives(*[(True, ConnectionLost("again"))] * 4).run, backoff=backoff)

    assert backoff.resets == 0


async def test_a_long_life_starts_the_waits_over() -> None:
    backoff = Recorded(0.001, 0.01)
    lives = iter([0.05, None])

    async def run(up: Callable[[], None]) -> None:
        up()
        seconds = next(lives)
        if seconds is not None:
            await asyncio.sleep(seconds)
            raise ConnectionLost("at last")

    await keep_running("AMI x", run, backoff=backoff)

    assert backoff.resets == 1


async def test_a_cancellation_that_meets_a_failure_still_ends_it() -> None:
    """A TaskGroup on CPython 3.11 raises the failure and forgets the cancellation."""
    lives = 0

    async def run(up: Callable[[], None]) -> None:
        nonlocal lives
        lives += 1
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ConnectionLost("in the same moment") from None

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(keep_running("AMI x", run, backoff=quick()), name="kept running")
        while not lives:
            await asyncio.sleep(0)
        task.cancel()

    assert task.cancelled()
    assert lives == 1


async def test_a_bulkhead_outlives_the_failure_of_a_group_of_tasks() -> None:
    """A TaskGroup that fails while it waits for its tasks must not be taken for a wish that we end."""
    lives = 0

    async def fails() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    async def run() -> None:
        nonlocal lives
        lives += 1
        if lives < 3:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fails())
                tasks.create_task(asyncio.sleep(10))

    await bulkhead("something", run, backoff=Backoff(0.001, 0.001))

    assert lives == 3


async def test_a_bulkhead_whose_life_was_long_starts_again_at_once() -> None:
    backoff = Recorded(0.001, 0.01)
    lives = iter([0.0, 0.05, None])

    async def run() -> None:
        seconds = next(lives)
        if seconds is not None:
            await asyncio.sleep(seconds)
            raise RuntimeError("a bug")

    await bulkhead("something", run, backoff=backoff)

    assert backoff.resets == 1
