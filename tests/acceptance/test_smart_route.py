"""The right phone rings first: a real Asterisk, its telephones, a CRM that names the manager, the ledger behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.calls import answered
from tests.support.daemon import ask
from tests.support.postgres import PostgresServer
from tests.support.renderers import no_cards
from tests.support.sipp import Sipp
from tests.support.world import World, world_around

pytestmark = pytest.mark.asterisk

STEPS = ("responsible", "last_agent", "first_agent")
# CRM user -> extension. 102 answers and leaves after 3 s; 103 and 104 ring for ever; 110 is not registered; 199 is
# no phone at all.
MANAGERS = {"2": "102", "3": "103", "4": "104", "10": "110", "99": "199"}
RING_S = 2
# 101, 103 and 104 ring, and 101 answers.
GROUP = "0000201"


@asynccontextmanager
async def company(pbx: Asterisk, lines: Sipp, postgres: PostgresServer, folder: Path) -> AsyncIterator[World]:
    async with world_around(pbx, lines, postgres, folder, route=STEPS, ring_s=RING_S, managers=MANAGERS) as world:
        for manager in MANAGERS:
            phone = f"+37529000{int(manager):04}"
            world.crm.add_customer(100 + int(manager), last_name="Клиентов", phones=[phone], manager_id=int(manager))
        yield world


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with company(asterisk, sipp, postgres, tmp_path) as world:
        yield world


def customer_of(manager: int) -> str:
    return f"37529000{manager:04}"


async def first_phone(world: World, caller: str) -> tuple[str, str]:
    """Route and seconds, as the dialplan is told them."""
    variables, _ = await ask(world.daemon.agi_port, caller)
    return variables["VOCHI_ROUTE"], variables["VOCHI_ROUTE_RING_S"]


def rang(world: World) -> list[str]:
    return [invite.number for invite in world.sipp.invites()]


async def test_the_manager_rings_first_and_then_the_ordinary_group(
    pbx: Asterisk, lines: Sipp, postgres: PostgresServer, tmp_path: Path
) -> None:
    """For the seconds of the line, on the newest and the oldest Asterisk; the name is there too."""
    async with company(pbx, lines, postgres, tmp_path) as world:
        await world.sipp.call(GROUP, customer_of(3), hold_s=0.3)
        await world.cards(1)
        (call,) = await world.calls()

    invites = world.sipp.invites()
    assert [invite.number for invite in invites[:1]] == ["103"]
    assert {invite.number for invite in invites[1:]} == {"101", "103", "104"}
    assert invites[0].display_name == "Клиентов | МТС Центр | Салон 1"
    assert (invites[1].at - invites[0].at).total_seconds() == pytest.approx(RING_S, abs=0.5)
    assert (call.reason, call.path, call.rung[0]) == ("talked", ("101",), "103")


async def test_a_manager_who_is_not_there_or_does_not_exist_costs_no_time(world: World) -> None:
    for manager in (10, 99):
        assert await first_phone(world, customer_of(manager)) == ("", "")
        begun = len(world.sipp.invites())
        result = await world.sipp.call(GROUP, customer_of(manager), hold_s=0.1)
        assert sorted(rang(world)[begun:]) == ["101", "103", "104"]
        assert result.ringing_s is not None
        assert result.ringing_s < RING_S / 2


async def test_a_manager_who_talks_is_not_disturbed(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.sipp.dial("104", "102", hold_s=2.0))
        await world.sipp.wait_for_invite("102")
        assert await first_phone(world, customer_of(2)) == ("", "")
        assert await first_phone(world, customer_of(4)) == ("", "")
    await world.asterisk.until_idle()
    assert await first_phone(world, customer_of(2)) == ("102", str(RING_S))


async def test_a_manager_who_talks_on_his_mobile_is_not_disturbed(world: World) -> None:
    """The device state of his desk phone says free; the call that was forwarded to his mobile says otherwise."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.sipp.call("0000220", "375290000022", hold_s=1.5))
        await world.sipp.wait_for_invite("80290000077")
        assert await first_phone(world, customer_of(4)) == ("", "")
    await world.asterisk.until_idle()
    assert await first_phone(world, customer_of(4)) == ("104", str(RING_S))


async def test_a_stranger_to_the_crm_rings_who_talked_with_him_last(world: World) -> None:
    await world.store.calls.record(answered(phone="+375290000055", last_agent="103", path=("102", "103")), no_cards)
    assert await first_phone(world, "375290000055") == ("103", str(RING_S))
    # and his first agent while the last one is engaged
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.sipp.dial("103", "101", hold_s=1.0))
        await world.sipp.wait_for_invite("101")
        assert await first_phone(world, "375290000055") == ("102", str(RING_S))


async def test_a_hidden_caller_a_blocked_one_and_a_stranger_go_the_ordinary_way(world: World) -> None:
    await world.store.customers.edit("0901", f"+{customer_of(3)}", {"black_list": True})
    for caller in ("anonymous", customer_of(3), "375290000077", "375290000088"):
        assert await first_phone(world, caller) == ("", "")


async def test_the_script_route_answers_the_route_alone(world: World) -> None:
    variables, _ = await ask(world.daemon.agi_port, customer_of(3), script="route")

    assert variables == {"VOCHI_ROUTE": "103"}


async def test_without_the_pbx_nobody_is_routed(world: World) -> None:
    """AMI away: no phone is known to be free; the answer comes all the same, in time."""
    assert await first_phone(world, customer_of(3)) == ("103", str(RING_S))
    await world.asterisk.kill()
    variables, seconds = await ask(world.daemon.agi_port, customer_of(3))

    assert (variables["VOCHI_ROUTE"], variables["VOCHI_NAME"]) == ("", "Клиентов")
    assert seconds < 1.5
