"""What happened while nobody listened is found in CEL: a real Asterisk, a dead daemon, calls in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around

pytestmark = pytest.mark.asterisk


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


async def test_calls_of_a_dead_time_are_recovered_once(world: World) -> None:
    """Three calls while the daemon is dead: three records, right counters, cards with the mark; a restart adds none."""
    await world.sipp.call("0000101", "375290000022", hold_s=0.3)
    await world.cards(1)
    await asyncio.sleep(3.0)
    await world.daemon.kill()
    await world.sipp.call("0000101", "375290000022", hold_s=0.5)
    await world.sipp.call("0000103", "375290000022", patience_s=0.7)
    await world.sipp.dial("101", "80290000010", hold_s=0.3)

    await world.daemon.start()
    cards = await world.cards(4)

    calls = await world.calls()
    assert [(call.direction, call.status, call.reason) for call in reversed(calls)] == [
        ("in", "answered", "talked"),
        ("in", "answered", "talked"),
        ("in", "missed", "abandoned"),
        ("out", "answered", "talked"),
    ]
    assert [call.source for call in reversed(calls)] == ["live", "recovery", "recovery", "recovery"]
    assert all("🔄" in card for card in cards[1:])
    customer = await world.customer("+375290000022")
    assert customer is not None
    history = customer.history
    assert (history.calls_total_in, history.calls_answered_in, history.calls_missed_in) == (3, 2, 1)

    await world.daemon.kill()
    await world.daemon.start()
    await asyncio.sleep(6.0)
    assert await world.calls() == calls
    assert len(await world.cards(4)) == 4


async def test_a_call_that_outlived_the_daemon_is_made_whole(world: World) -> None:
    """Killed in a conversation and started again after its end: one record, complete, as CEL tells it."""
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(world.sipp.call("0000101", "375290000022", hold_s=2.0))
        await world.sipp.wait_for_invite("101")
        await asyncio.sleep(1.5)
        await world.daemon.kill()
    assert call.result().code == 200

    await world.daemon.start()
    await world.cards(1)

    (record,) = await world.calls()
    assert (record.status, record.path, record.partial, record.source) == ("answered", ("101",), False, "recovery")
    assert record.talk_seconds == pytest.approx(2.0, abs=0.4)


async def cut_off(world: World) -> None:
    """A call whose PBX dies: the caller's BYE finds nobody."""
    with contextlib.suppress(RuntimeError):
        await world.sipp.call("0000101", "375290000022", hold_s=3.0)


async def test_asterisk_itself_restarts_in_the_middle(world: World) -> None:
    """Killed with a call going on: the call ends unseen, later ones are whole, each customer's leg is one record."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(cut_off(world))
        await world.sipp.wait_for_invite("101")
        await asyncio.sleep(1.5)
        await world.asterisk.kill()
        await world.asterisk.start()
    await world.until_alive()
    await world.sipp.call("0000101", "375290000011", hold_s=0.3)
    await world.cards(2)

    calls = await world.calls()

    assert sorted((call.phone, call.status) for call in calls) == [
        ("+375290000011", "answered"),
        ("+375290000022", "answered"),
    ]
