"""Live cards whose calls nobody follows any more are taken back, and only those."""

import asyncio
from collections.abc import Collection
from datetime import timedelta

import pytest

from tests.support.card_table import CardTable
from vochi_agent.calls.model import Phase
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.sweeping import Sweeper

CHAT = -100


@pytest.fixture
async def table(store: PostgresStore, dsn: str) -> CardTable:
    return CardTable(store, dsn)


async def test_a_call_that_ended_while_nobody_watched_is_taken_back(table: CardTable) -> None:
    lost, goes_on = [await table.put("говорят", chat_id=CHAT, phase=Phase.BRIDGE) for _ in range(2)]
    taken = asyncio.Event()
    sweeper = Sweeper(
        "0901",
        table.store.cards,
        alive=lambda: [goes_on],
        taken_back=taken.set,
        period_s=0.05,
        silent_for=timedelta(seconds=0.2),
    )
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sweeper.run())
        await taken.wait()
        task.cancel()

    assert [(await table.card(linkedid))["text"] for linkedid in (lost, goes_on)] == ["", "говорят"]


async def test_while_the_pbx_is_away_nothing_is_known_and_nothing_taken_back(table: CardTable) -> None:
    await table.put("говорят", chat_id=CHAT, phase=Phase.BRIDGE)
    answers: list[Collection[str] | None] = [[], None, [], None]
    asked = asyncio.Event()

    def alive() -> Collection[str] | None:
        if not answers:
            asked.set()
            return None
        return answers.pop()

    sweeper = Sweeper(
        "0901", table.store.cards, alive=alive, taken_back=asked.clear, period_s=0.01, silent_for=timedelta(0)
    )
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sweeper.run())
        await asked.wait()
        task.cancel()

    (card,) = await table.rows("SELECT * FROM cards")
    assert card["text"] == "говорят"
