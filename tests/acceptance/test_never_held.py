"""No call is held: the daemon killed, frozen, thawed, doubled, in front of a real Asterisk and real SIP phones."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.daemon import DaemonProcess
from tests.support.manager import is_event
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.customers.model import Names, Profile
from vochi_agent.store.postgres import PostgresStore

pytestmark = [pytest.mark.alone, pytest.mark.asterisk]

DEAD_S = 0.1  # what a daemon that is dead, or known to be silent, may cost
MUTE_S = 2.2  # what one that has just fallen silent may cost
STALE_S = 6.0  # after which its heartbeat is known to be old
CALLS_PER_S = 50
LOAD_S = 14
BROKEN_AT_S = 4.0
BLIND_S = 5.0  # after a break names may be missing for so long


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


async def delay(world: World, did: str = "0000101") -> float:
    """Seconds until a phone rings beyond what a call costs that asks nobody; the call has to be answered."""
    plain = await world.sipp.call("0000304", "375290000022", hold_s=0.1)
    asked = await world.sipp.call(did, "375290000022", hold_s=0.1)
    assert (asked.ended, asked.code) == ("hung_up", 200)
    assert plain.ringing_s is not None
    assert asked.ringing_s is not None
    return asked.ringing_s - plain.ringing_s


async def test_a_daemon_that_is_killed_costs_nothing(world: World) -> None:
    """Kill -9 while its heartbeat is still fresh, and long after."""
    await world.daemon.kill()

    assert await delay(world) <= DEAD_S
    await asyncio.sleep(STALE_S)
    assert await delay(world) <= DEAD_S


async def test_a_frozen_daemon_costs_two_seconds_once(world: World) -> None:
    """SIGSTOP: it accepts and is silent. The guard lets the first calls go, later ones do not ask; thawed, it names."""
    world.daemon.freeze()

    assert await delay(world) <= MUTE_S
    await asyncio.sleep(STALE_S)
    assert await delay(world) <= DEAD_S

    world.daemon.thaw()
    await asyncio.sleep(2.5)
    await world.sipp.call("0000102", "375290000022", hold_s=0.1)
    assert world.sipp.invites("102")[-1].display_name == "Тестов Тест | МТС Центр | Салон 1"


async def test_calls_of_a_frozen_time_are_written_once_when_it_thaws(world: World) -> None:
    """What Asterisk kept for a reader that was late is read in order, and nothing is counted twice."""
    await world.sipp.call("0000101", "375290000022", hold_s=0.3)
    await world.cards(1)
    world.daemon.freeze()
    await world.sipp.call("0000101", "375290000022", hold_s=0.3)
    world.daemon.thaw()
    await world.cards(2)

    calls = await world.calls()
    customer = await world.customer("+375290000022")

    assert [call.status for call in calls] == ["answered", "answered"]
    assert customer is not None
    assert customer.history.calls_answered_in == 2


async def test_a_call_goes_on_over_a_restart_of_the_daemon(world: World) -> None:
    """Kill -9 in the middle of a conversation: it is picked up from the PBX's list, and is one call, partly seen."""
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(world.sipp.call("0000101", "375290000022", hold_s=5.0))
        await world.sipp.wait_for_invite("101")
        await asyncio.sleep(1.5)
        await world.daemon.kill()
        await world.daemon.start()
    assert call.result().code == 200
    (card,) = await world.cards(1)

    (record,) = await world.calls()

    assert "✅" in card
    assert (record.status, record.path, record.phone) == ("answered", ("101",), "+375290000022")
    assert record.talk_seconds == pytest.approx(5.0, abs=4.5)


# ---------------------------------------------------------------- two daemons

Break = Callable[[DaemonProcess], Awaitable[None]]


async def kill(daemon: DaemonProcess) -> None:
    await daemon.kill()


async def freeze(daemon: DaemonProcess) -> None:
    daemon.freeze()


@pytest.mark.parametrize("broken", ["a", "b"])
@pytest.mark.parametrize("how", [kill, freeze])
async def test_two_daemons_name_callers_when_either_breaks(
    asterisk: Asterisk, postgres: PostgresServer, tmp_path: Path, broken: str, how: Break
) -> None:
    """Fifty calls a second through the shipped dialplan: every one goes on, 99 % are named outside the first 5 s."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(postgres.database())
        store = await stack.enter_async_context(PostgresStore(dsn, pool_size=1))
        anna = Profile(source="manual", external_id="", names=Names(last_name="Контактова", first_name="Анна"))
        await store.customers.enrich("0901", "+375290000033", anna, primary=True)
        daemons = {}
        for instance, port in (("a", asterisk.ports.fastagi), ("b", asterisk.ports.fastagi_b)):
            daemons[instance] = DaemonProcess.of(
                tmp_path / instance, ami_port=asterisk.ports.ami, secret=asterisk.secret, agi_port=port,
                database=dsn, instance=instance,
            )  # fmt: skip
            await stack.enter_async_context(daemons[instance])
            async with asyncio.timeout(15):
                while not await asterisk.get_global(f"VOCHI_ALIVE_{instance}"):
                    await asyncio.sleep(0.05)

        placed, named, broken_at = await load(asterisk, lambda: how(daemons[broken]))

    assert len(named) == len(placed), "calls were lost"
    steady = [call for call, at in placed.items() if not broken_at - 0.1 <= at <= broken_at + BLIND_S]
    assert len(steady) > CALLS_PER_S * 5
    assert sum(named[call] == "Контактова Анна" for call in steady) >= 0.99 * len(steady)


async def load(
    asterisk: Asterisk, breaks: Callable[[], Awaitable[None]]
) -> tuple[dict[str, float], dict[str, str], float]:
    """Place calls evenly; returns when each was placed, what name each had in the end, and when something broke."""
    placed: dict[str, float] = {}
    named: dict[str, str] = {}
    broken_at = float("inf")
    async with asterisk.manager(events="off") as manager, asterisk.manager(events="user") as listener:
        started = time.monotonic()
        for number in range(CALLS_PER_S * LOAD_S):
            due = started + number / CALLS_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if broken_at == float("inf") and number / CALLS_PER_S >= BROKEN_AT_S:
                await breaks()
                broken_at = time.monotonic()
            placed[str(number)] = time.monotonic()
            await manager.action(
                "Originate",
                Channel="Local/0000399@from-trunk/n",
                Application="Wait",
                Data="4",
                CallerID="375290000033",
                Variable=f"__LAB_CALL={number}",
                Async="true",
            )
        async with asyncio.timeout(15):
            while len(named) < len(placed):
                event = await listener.wait_for(is_event("UserEvent", UserEvent="LabNamed"))
                named[event["Call"]] = event["Name"]
    return placed, named, broken_at
