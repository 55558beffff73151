"""The main job on real input: a real Asterisk takes a SIP call, the phone shows the name, the rest is written down."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.postgres import PostgresServer
from tests.support.sipp import RING_S, Sipp
from tests.support.world import World, world_around

pytestmark = pytest.mark.asterisk


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


async def test_a_known_customer_of_a_company(world: World) -> None:
    """The INVITE that reaches the phone carries company, line and shop; rows and card are right."""
    result = await world.sipp.call("0000101", "80290000033", hold_s=1.5)

    assert (result.ended, result.code) == ("hung_up", 200)
    assert world.sipp.invites("101")[0].display_name == "Ромашка | МТС Центр | Салон 1"
    (card,) = await world.cards(1)
    assert "✅Успешный входящий звонок" in card
    assert "👤Контактова Анна (Ромашка)" in card
    assert "☎️Первый Агент (101)" in card
    assert "📡МТС Центр" in card
    (call,) = await world.calls()
    assert (call.direction, call.status, call.reason, call.phone) == ("in", "answered", "talked", "+375290000033")
    assert (call.line, call.first_agent, call.path, call.rung) == ("0001701", "101", ("101",), ("101",))
    assert call.talk_seconds == pytest.approx(1.5, abs=0.4)
    assert RING_S - 0.1 < call.wait_seconds < RING_S + 2.0  # a busy machine adds to it
    customer = await world.customer("+375290000033")
    assert customer is not None
    assert (customer.names.enterprise_name, customer.names.last_name) == ("Ромашка", "Контактова")
    assert customer.meta["person_uid"] == "retailcrm_corporate:77"
    history = customer.history
    assert (history.calls_total_in, history.calls_answered_in, history.calls_missed_in) == (1, 1, 0)
    assert (history.last_agent_internal, history.last_line) == ("101", "0001701")


async def test_a_stranger_still_shows_line_and_shop(world: World) -> None:
    await world.sipp.call("0000101", "375290000011", hold_s=0.5)

    assert world.sipp.invites("101")[0].display_name == "МТС Центр | Салон 1"
    (card,) = await world.cards(1)
    assert "💰+375 (29) 000-00-11" in card
    assert "👤" not in card
    customer = await world.customer("+375290000011")
    assert customer is not None
    assert not customer.names


async def test_a_hidden_caller_is_counted_and_nobody(world: World) -> None:
    await world.sipp.call("0000101", "anonymous", hold_s=0.5)

    assert world.sipp.invites("101")[0].display_name == "МТС Центр | Салон 1"
    (card,) = await world.cards(1)
    assert "Номер не определен" in card
    (call,) = await world.calls()
    assert (call.phone, call.status) == (None, "answered")
    assert await world.store.customers.customer("0901", "") is None


async def test_a_missed_call_names_the_phones_that_rang(world: World) -> None:
    await world.sipp.call("0000103", "375290000022", patience_s=1.5)

    assert world.sipp.invites("103")[0].display_name == "Тестов Тест | МТС Центр | Салон 1"
    (card,) = await world.cards(1)
    assert "❌ Мы не подняли трубку" in card
    (call,) = await world.calls()
    assert (call.status, call.reason, call.rung, call.path) == ("missed", "abandoned", ("103",), ())
    customer = await world.customer("+375290000022")
    assert customer is not None
    assert (customer.history.calls_total_in, customer.history.calls_missed_in) == (1, 1)
    assert customer.history.last_agent_internal is None


async def test_an_outgoing_call(world: World) -> None:
    await world.sipp.dial("101", "80290000010", hold_s=1.0)

    (card,) = await world.cards(1)
    assert "✅Успешный исходящий звонок" in card
    (call,) = await world.calls()
    assert (call.direction, call.status, call.phone, call.first_agent) == ("out", "answered", "+375290000010", "101")


async def test_with_the_daemon_stopped_the_call_still_rings(world: World) -> None:
    """SIGTERM: exit 0; the heartbeat grows stale; the phone rings at once, without a name."""
    assert await world.daemon.stop() == 0

    result = await world.sipp.call("0000101", "375290000022", hold_s=0.5)

    assert (result.ended, result.code) == ("hung_up", 200)
    assert result.ringing_s is not None
    assert result.ringing_s < 0.5
    assert world.sipp.invites("101")[0].display_name != "Тестов Тест | МТС Центр | Салон 1"


async def test_the_whole_chain_on_the_oldest_asterisk(
    asterisk16: Asterisk, sipp16: Sipp, postgres: PostgresServer, tmp_path: Path
) -> None:
    async with world_around(asterisk16, sipp16, postgres, tmp_path) as world:
        await world.sipp.call("0000101", "80290000033", hold_s=0.5)

        assert world.sipp.invites("101")[0].display_name == "Ромашка | МТС Центр | Салон 1"
        (card,) = await world.cards(1)
        assert "👤Контактова Анна (Ромашка)" in card
        (call,) = await world.calls()
        assert (call.status, call.phone, call.path) == ("answered", "+375290000033", ("101",))
