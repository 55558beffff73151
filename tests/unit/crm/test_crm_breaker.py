"""The circuit breaker, by a clock moved by hand."""

import asyncio

import pytest

from tests.support.crm import HandClock
from vochi_agent.crm.breaker import Breaker, State
from vochi_agent.errors import CrmAuthFailed, CrmPaused, CrmRejected, CrmUnavailable


class Watched:
    """A breaker that opens after three failures, its clock and its changes."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.changes: list[State] = []
        self.breaker = Breaker(
            clock=self.clock, failures=3, pause_s=10.0, auth_pause_s=60.0, on_change=self.changes.append
        )

    def fail(self, error: BaseException) -> None:
        """One request that ends so."""
        with pytest.raises(type(error)), self.breaker.guard():
            raise error

    def work(self) -> None:
        """One request that is answered."""
        with self.breaker.guard():
            pass


def opened(error: BaseException) -> Watched:
    watched = Watched()
    for _ in range(3):
        watched.fail(error)
    return watched


def test_opens_at_the_third_failure_in_a_row_and_lets_nothing_through() -> None:
    watched = Watched()
    watched.fail(CrmUnavailable("1"))
    watched.fail(CrmUnavailable("2"))
    assert watched.breaker.state is State.CLOSED

    watched.fail(CrmUnavailable("3"))

    assert watched.breaker.state is State.OPEN
    with pytest.raises(CrmPaused), watched.breaker.guard():
        pytest.fail("the block ran")


@pytest.mark.parametrize("answer", [None, CrmRejected("no")], ids=["an answer", "a refusal"])
def test_an_answer_of_any_kind_starts_the_count_again(answer: Exception | None) -> None:
    watched = Watched()
    watched.fail(CrmUnavailable("1"))
    watched.fail(CrmUnavailable("2"))

    if answer:
        watched.fail(answer)
    else:
        watched.work()
    watched.fail(CrmUnavailable("1"))
    watched.fail(CrmUnavailable("2"))

    assert watched.breaker.state is State.CLOSED


def test_after_the_pause_one_request_at_a_time_tries_and_closes_it() -> None:
    watched = opened(CrmUnavailable("away"))
    watched.clock.now += 10.0

    with watched.breaker.guard(), pytest.raises(CrmPaused), watched.breaker.guard():
        pytest.fail("a second probe ran")

    assert watched.changes == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    watched.work()


def test_a_failed_probe_opens_it_for_another_pause() -> None:
    watched = opened(CrmUnavailable("away"))
    watched.clock.now += 10.0
    watched.fail(CrmUnavailable("still away"))

    watched.clock.now += 9.9
    with pytest.raises(CrmPaused):
        watched.work()
    watched.clock.now += 0.1
    watched.work()

    assert watched.breaker.state is State.CLOSED


def test_a_cancelled_probe_proves_nothing_and_makes_room_for_the_next() -> None:
    watched = opened(CrmUnavailable("away"))
    watched.clock.now += 10.0

    watched.fail(asyncio.CancelledError())

    assert watched.breaker.state is State.HALF_OPEN
    watched.work()
    assert watched.breaker.state is State.CLOSED


def test_a_refused_key_pauses_longer_than_silence() -> None:
    watched = opened(CrmAuthFailed("key"))

    watched.clock.now += 59.9
    with pytest.raises(CrmPaused):
        watched.work()
    watched.clock.now += 0.1
    watched.work()

    assert watched.breaker.state is State.CLOSED
