"""Calls that go on, from their phases to the table of cards; the table and what lies before it are real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.card_table import CardTable
from tests.support.cards import finished, told
from tests.support.tcp_gate import TcpGate
from tests.unit.telegram.test_drafts import configured
from vochi_agent import live_cards
from vochi_agent.calls.model import CallFinished, Direction, Phase
from vochi_agent.customers.model import Names, Profile
from vochi_agent.live_cards import LiveCards
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.drafts import live_renderer

SHOWS = "(SELECT coalesce(bool_or(text LIKE $1), false) FROM cards)"


@dataclass
class Desk:
    """Who shows live calls, and where he writes."""

    live: LiveCards
    table: CardTable
    gate: TcpGate

    async def until_shows(self, words: str) -> None:
        """Return when some card says that."""
        await self.table.until(SHOWS, f"%{words}%")


@pytest.fixture
async def desk(dsn: str) -> AsyncIterator[Desk]:
    host, _, port = dsn.rpartition("@")[2].partition("/")[0].partition(":")
    config = configured(chat={"topic": 0, "directions": ["in", "out", "internal"]})
    async with (
        TcpGate(int(port)) as gate,
        PostgresStore(dsn.replace(f"{host}:{port}", f"{host}:{gate.port}")) as store,
        asyncio.TaskGroup() as tasks,
    ):
        renderers = {"0901": live_renderer(config.enterprises[0], config)}
        live = LiveCards(store.cards, store.customers, renderers=renderers, cards_changed=lambda: None)
        task = tasks.create_task(live.run())
        yield Desk(live, CardTable(store, dsn), gate)
        task.cancel()


async def test_a_call_is_shown_as_it_goes_on(desk: Desk) -> None:
    desk.live.tell(told(Phase.DIAL, agents=("150", "151")))
    await desk.until_shows("📞 Входящий звонок")
    desk.live.tell(told(Phase.BRIDGE, agents=("151",)))
    await desk.until_shows("🔗 Идет входящий разговор")

    (card,) = await desk.table.rows("SELECT * FROM cards")
    assert (card["phase"], card["revision"], card["brief"]) == (
        "bridge",
        2,
        "🔗 +375 (29) 000-00-11 ☎️Второй Агент (151)",
    )


async def test_a_greeting_that_is_over_at_once_is_never_shown(desk: Desk) -> None:
    desk.live.tell(told(Phase.START))
    desk.live.tell(told(Phase.DIAL, agents=("151",)))
    await desk.until_shows("📞")

    (card,) = await desk.table.rows("SELECT * FROM cards")
    assert (card["phase"], card["revision"]) == ("dial", 1)


async def test_a_greeting_that_plays_on_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_cards, "GREETING_S", 0.1)
    desk.live.tell(told(Phase.START))

    await desk.until_shows("➡️ Приветствие")


async def test_who_placed_a_call_is_remembered(desk: Desk) -> None:
    desk.live.tell(told(Phase.START, Direction.OUT, agents=("151",)))
    desk.live.tell(told(Phase.DIAL, Direction.OUT))

    await desk.until_shows("☎️Второй Агент (151) ➡️ 💰+375 (29) 000-00-11")


async def test_a_name_that_comes_late_is_put_on_the_card(desk: Desk) -> None:
    desk.live.tell(told(Phase.DIAL, agents=("151",)))
    await desk.until_shows("📞")
    profile = Profile(source="retailcrm", external_id="2002", names=Names(last_name="Тестов", first_name="Тест"))
    await desk.table.store.customers.enrich("0901", "+375290000011", profile, primary=True)
    desk.live.named("0901", "+375290000011")

    await desk.until_shows("👤Тестов Тест")


async def test_a_call_that_is_over_is_not_shown_any_more(desk: Desk) -> None:
    desk.live.tell(told(Phase.DIAL, agents=("151",)))
    desk.live.tell(CallFinished(finished()))
    desk.live.tell(told(Phase.DIAL, agents=("151",), linkedid="1.2"))
    await desk.until_shows("📞")

    assert [card["linkedid"] for card in await desk.table.rows("SELECT * FROM cards")] == ["1.2"]


async def test_a_database_that_is_away_costs_the_states_that_came_meanwhile(desk: Desk) -> None:
    await desk.gate.close()
    desk.live.tell(told(Phase.DIAL, agents=("151",)))
    await asyncio.sleep(0.3)
    await desk.gate.open()
    desk.live.tell(told(Phase.DIAL, agents=("151",), linkedid="1.2"))
    await desk.until_shows("📞")

    assert [card["linkedid"] for card in await desk.table.rows("SELECT * FROM cards")] == ["1.2"]


async def test_a_mute_database_holds_up_nobody(desk: Desk) -> None:
    desk.gate.freeze()
    desk.live.tell(told(Phase.DIAL, agents=("151",)))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(5000):
        desk.live.tell(told(Phase.DIAL, agents=("151",), linkedid=f"1.{number}"))

    assert loop.time() - begun < 1.0
    assert len(desk.live._calls) == live_cards.MOST_CALLS
    desk.gate.thaw()
