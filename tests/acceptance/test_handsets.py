"""What telephones really show: the INVITE that reaches each of them, and the UPDATE that brings a late name."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.handset_pictures import HANDSETS, PICTURE, draw, screens
from tests.support.postgres import PostgresServer
from tests.support.required import require
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.simulator.retailcrm import Fault

pytestmark = pytest.mark.asterisk

SLOW_S = 1.6  # longer than the dialplan is let wait for a CRM (1.2 s)

Company = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(params=["asterisk22", "asterisk16"])
async def asterisk(request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    """The newest and the oldest; telephones are told who calls as the identity that may change (send_pai)."""
    async with Asterisk(require(request.param), send_pai=True) as instance:
        yield instance


@pytest.fixture
def company(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> Company:
    return partial(world_around, asterisk, sipp, postgres, tmp_path, chats=(), handsets=HANDSETS)


async def ring(world: World, did: str, caller: str = "80290000022", patience_s: float = 1.5) -> None:
    """A call that rings for a moment."""
    await world.sipp.call(did, caller, patience_s=patience_s, hold_s=0.1)
    await world.asterisk.until_idle()


def shown(world: World, *phones: str) -> list[str]:
    """What each telephone showed first."""
    return [world.sipp.invites(phone)[0].display_name for phone in phones]


# ---------------------------------------------------------------- each telephone its own letters


async def test_three_telephones_of_a_group_show_one_call_each_in_its_own_letters(company: Company) -> None:
    """As the picture in the README has it."""
    async with company() as world:
        seen = await screens(world)

        assert [screen.name for screen in seen] == [
            "Тестов Тест | МТС Центр | Салон 1",
            "Testov Test | MTS Tsentr",
            "MTS Tsentr",
        ]
        assert draw(seen) == PICTURE.read_text(encoding="utf-8"), "python -m tests.support.handset_pictures"
        assert [problem for problem in world.asterisk.problems() if "vochi" in problem] == []


async def test_members_of_a_queue_show_the_call_each_in_its_own_letters(company: Company) -> None:
    async with company() as world:
        await world.sipp.call("0000231", "80290000022", hold_s=2.0)

        assert shown(world, "101", "103") == ["Тестов Тест | МТС Центр | Салон 1", "Testov Test | MTS Tsentr"]


@pytest.mark.parametrize(
    ("last_name", "wide", "narrow"),
    [
        ('ООО "Рога, и" <Копыта>', "ООО Рога, и Копыта", "OOO Roga, i"),
        ("Вася 🌼\nПупкин", "Вася 🌼 Пупкин", "Vasya Pupki"),
        ("Петров | ${EVAL(1)} ;)", "Петров ${EVAL(1)} ;)", "Petrov ${EV"),
        ("Щ" * 300, "Щ" * 38, "SHCHSHCHSHC"),
    ],
    ids=["quotes and brackets", "emoji and a line end", "dialplan", "three hundred letters"],
)
async def test_no_name_breaks_the_header_it_is_shown_in(
    company: Company, last_name: str, wide: str, narrow: str
) -> None:
    async with company() as world:
        world.crm.add_customer(2010, last_name=last_name, phones=["+375290000044"])
        await ring(world, "0000230", "80290000044")

        assert shown(world, "101", "103", "104") == [
            f"{wide} | МТС Центр | Салон 1",
            f"{narrow} | MTS Tsentr",
            "MTS Tsentr",
        ]


async def test_a_name_without_one_letter_for_a_telephone_leaves_it_the_number(company: Company) -> None:
    async with company(caller_name=("customer",)) as world:
        world.crm.add_customer(2011, last_name="王小明", phones=["+375290000045"])
        await ring(world, "0000230", "80290000045")

        assert shown(world, "101", "103", "104") == ["王小明", "", ""]


# ---------------------------------------------------------------- the name that came late


@pytest.mark.long(10)
async def test_a_late_name_reaches_every_ringing_telephone_that_can_take_it(company: Company) -> None:
    async with company() as world:
        world.crm.fault, world.crm.silence_s = Fault.SILENCE, SLOW_S
        async with asyncio.TaskGroup() as group:
            group.create_task(ring(world, "0000232", patience_s=4.0))
            update = await world.sipp.wait_for_update("103", within=6)
        first = world.sipp.invites("103")[0]

        assert (first.display_name, update.method, update.answered) == ("MTS Tsentr | Salon 1", "UPDATE", False)
        assert update.display_name == "Testov Test | MTS Tsentr"
        assert 0 < (update.at - first.at).total_seconds() < 2
        # It has not said that it takes an UPDATE, and nobody picks up.
        assert world.sipp.updates("104") == []
        assert len(world.sipp.updates("103")) == 1


@pytest.mark.long(10)
async def test_a_late_name_is_there_for_telephones_that_ring_later(company: Company) -> None:
    async with company() as world:
        world.crm.fault, world.crm.silence_s = Fault.SILENCE, SLOW_S
        await world.sipp.call("0000233", "80290000022", hold_s=0.1, patience_s=10)

        seen = shown(world, "103", "101")
        assert seen == ["MTS Tsentr | Salon 1", "Тестов Тест | МТС Центр | Салон 1"], world.daemon.log.read_text()
