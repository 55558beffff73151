"""The daemon is killed at random moments of a busy hour; then the chat shows each call once, and nothing else.

In a card of its own, a shared message, or, when a gap had more than 20 calls, the digest of that gap.

VOCHI_CARD_CALLS: how many calls (25). VOCHI_SEED: the seed of an earlier run, which every run prints.
"""

import asyncio
import os
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from tests.support.asterisk import Asterisk
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.traffic import Traffic
from tests.support.world import CHAT, World, world_around
from vochi_agent.telegram.together import in_one_message

CALLS = int(os.getenv("VOCHI_CARD_CALLS", "25"))
SETTLE_S = 60.0
SIGNS = {"answered": "✅", "missed": "❌", "unknown": "❌"}
# Long enough to close its gap mostly: more than 20 calls recovered at once would be one digest and no cards.
LIVES_S = (5.0, 20.0)
DEAD_S = (0.0, 2.0)

pytestmark = [pytest.mark.long(40), pytest.mark.asterisk, pytest.mark.timeout(CALLS * 6 + SETTLE_S + 240)]


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


async def test_kill_at_random_moments_leaves_one_right_final_a_call(world: World) -> None:
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    world.telegram.limited = True
    traffic = Traffic(world.sipp, Random(f"{seed} traffic"))
    kills = 0
    async with asyncio.TaskGroup() as tasks:
        calls = tasks.create_task(traffic.run_calls(CALLS), name="traffic")
        dice = Random(f"{seed} kills")
        while not calls.done():
            await asyncio.wait([calls], timeout=dice.uniform(*LIVES_S))
            await world.daemon.kill()
            kills += 1
            await asyncio.sleep(dice.uniform(*DEAD_S))
            await world.daemon.start()
    loop = asyncio.get_running_loop()
    ended = loop.time()
    wrong = await differences(world)
    while wrong and loop.time() < ended + SETTLE_S:
        await asyncio.sleep(0.5)
        wrong = await differences(world)
    print(  # noqa: T201 - the figures are what people ask for
        f"VOCHI_SEED={seed}: {sum(traffic.expected.values())} calls, {kills} kills, {world.telegram.refused} refused; "
        f"every card right {loop.time() - ended:.1f} s after the last call"
    )

    assert "\n".join(wrong[:20]) == ""
    assert "Traceback" not in world.daemon.log.read_text()


async def differences(world: World) -> list[str]:
    """What the chat shows and should not, or should and does not; by the ledger, whose calls are proved elsewhere."""
    calls, cards, digests = await rows(world)
    alone = calls.keys() - {card["linkedid"] for card in cards}
    told = sum(int(number) for number in re.findall(r"🔄 Восстановлено: (\d+)", "\n".join(digests)))
    wrong = [] if len(alone) == told else [f"{len(alone)} calls without a card, {told} told of in digests: {alone}"]
    expected: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for card in cards:
        status = calls.get(card["linkedid"], "not stored")
        if card["phase"] != "hangup" or not card["text"].startswith(SIGNS.get(status, "?")):
            wrong.append(f"{card['linkedid']}: says {card['text'][:30]}, was {status}")
        expected[card["message_id"] or 0].append(card)
    shown = {message.message_id: message.source for message in world.telegram.messages(CHAT)}
    for message_id in expected.keys() | {each for each, text in shown.items() if text not in digests}:
        should = written(expected[message_id]) if expected[message_id] else None
        if shown.get(message_id) != should:
            wrong.append(f"message {message_id} says {shown.get(message_id)!r} and not {should!r}")
    return wrong


def written(cards: Sequence[Mapping[str, Any]]) -> str:
    """One message for these rows."""
    return in_one_message([(card["text"], card["brief"]) for card in cards], held=False)


async def rows(world: World) -> tuple[dict[str, str], list[Mapping[str, Any]], list[str]]:
    """The status of each customer's call by linkedid, the cards of calls, the digests of gaps with many calls."""
    connection = await asyncpg.connect(world.dsn)
    try:
        calls = await connection.fetch(
            "SELECT linkedid, status FROM calls WHERE direction IN ('in', 'out') AND merged_into IS NULL"
        )
        cards = await connection.fetch("SELECT * FROM cards WHERE kind = 'call' AND text <> '' ORDER BY id")
        digests = await connection.fetch("SELECT text FROM cards WHERE kind = 'digest'")
    finally:
        await connection.close()
    return {call["linkedid"]: call["status"] for call in calls}, list(cards), [row["text"] for row in digests]
