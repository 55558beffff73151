"""Who keeps the ledger of watched time: it says no more than what is proven."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.pbx_records import utc
from tests.support.polling import until
from vochi_agent import watching
from vochi_agent.calls.watched import Gap
from vochi_agent.errors import ConnectionLost
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.watching import WatchKeeper

NOON = utc("12:00:00")


class Desk:
    """A keeper with its PBX, both clocks in our hands."""

    def __init__(self, store: PostgresStore) -> None:
        self.now = NOON.timestamp()
        self.step = 0.0  # of our own clock, since the PBX said its time
        self.ticks = 50.0
        self.up = True
        self.all_stored = True
        self.dropped = 0
        self.woken = 0
        self.store = store
        self.ready = asyncio.Event()
        self.keeper = WatchKeeper(
            "0901",
            store.watched,
            ping=self.ping,
            pbx_time=lambda: self.now + self.step,
            monotonic=lambda: self.ticks,
            all_stored=lambda: self.all_stored,
            dropped=lambda: self.dropped,
            recover=self.wake,
            ready=self.ready,
        )
        self.keeper.connected(self.now)

    async def ping(self) -> None:
        """An answer, while there is a PBX, with its time."""
        if not self.up:
            raise ConnectionLost("the PBX is gone")
        self.step = 0.0

    def wake(self) -> None:
        """Recovery would begin."""
        self.woken += 1

    async def after(self, seconds: float, *, jump: float = 0.0) -> None:
        """Time goes by, on the PBX perhaps more; then the keeper looks."""
        self.now += seconds + jump
        self.ticks += seconds
        await self.keeper.advance()

    async def gaps(self) -> list[tuple[float, float]]:
        """In seconds since noon, up to what is watched now."""
        found = await self.store.watched.gaps("0901", self.keeper.horizon())
        return [(gap.since.timestamp() - NOON.timestamp(), gap.until.timestamp() - NOON.timestamp()) for gap in found]

    async def complete(self) -> float:
        """The end of what is complete, in seconds since noon."""
        until = await self.store.watched.complete_until("0901")
        assert until is not None
        return until.timestamp() - NOON.timestamp()


@pytest.fixture
def desk(store: PostgresStore) -> Desk:
    return Desk(store)


async def test_a_span_grows_while_the_pbx_answers(desk: Desk):
    await desk.after(2)
    await desk.after(2)

    assert await desk.complete() == 3  # the last second is not proven yet
    assert await desk.gaps() == []
    assert desk.woken == 1


async def test_where_watching_begins_is_put_down_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Before the first span of all nobody looks for calls: a daemon killed in its first second would lose them."""
    monkeypatch.setattr(watching, "PERIOD_S", 3600.0)
    desk.keeper.interrupted()
    desk.ready.set()

    async def is_put_down() -> bool:
        return await desk.store.watched.complete_until("0901") is not None

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(desk.keeper.run(), name="keeper")
        await asyncio.sleep(0.1)
        assert not await is_put_down()
        desk.keeper.connected(desk.now)
        await until(is_put_down, within=10)
        running.cancel()


async def test_a_pbx_that_is_mute_proves_nothing(desk: Desk):
    await desk.after(10)
    desk.up = False
    with pytest.raises(ConnectionLost):
        await desk.after(10)
    desk.keeper.interrupted()
    await desk.after(10)
    desk.up = True
    desk.keeper.connected(desk.now)
    await desk.after(2)

    assert await desk.gaps() == [(9, 30)]
    assert desk.woken == 2


async def test_nothing_is_claimed_while_a_finished_call_waits_for_the_database(desk: Desk):
    await desk.after(10)
    desk.all_stored = False
    await desk.after(10)
    assert await desk.complete() == 9
    desk.all_stored = True
    await desk.after(2)

    assert await desk.complete() == 21


async def test_calls_that_there_was_no_room_for_are_a_gap(desk: Desk):
    await desk.after(10)
    desk.all_stored, desk.dropped = False, 3
    await desk.after(10)
    desk.all_stored = True
    await desk.after(2)
    await desk.after(2)

    assert await desk.gaps() == [(9, 22)]
    assert await desk.store.watched.gaps("0901", NOON + timedelta(seconds=23)) == [
        Gap(NOON + timedelta(seconds=9), NOON + timedelta(seconds=22))
    ]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_begins_another_span(desk: Desk, jump: float, caplog):
    await desk.after(10)
    await desk.after(2, jump=jump)
    await desk.after(2)

    assert await desk.gaps() == ([(9, 3612)] if jump > 0 else [])
    assert [record.action for record in caplog.records] == ["clock_jump"]
    assert desk.woken == 2


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_step_of_our_own_clock_is_none_of_the_pbx(desk: Desk, step: float):
    """Taken for one, an hour to come would count as watched."""
    await desk.after(10)
    desk.step = step
    await desk.after(2)
    await desk.after(2)

    assert await desk.complete() == 13
    assert await desk.gaps() == []
    assert desk.woken == 1


async def test_a_span_that_was_joined_away_is_opened_anew(desk: Desk):
    """Another daemon thought we were dead."""
    await desk.after(10)
    await desk.store.database.execute("join_spans", "0901", NOON + timedelta(days=1))
    await desk.after(2)
    await desk.after(2)

    assert await desk.gaps() == [(9, 12)]
