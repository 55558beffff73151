"""Whether the books are right after a hard time: by the plan of the traffic, and by Asterisk's own records."""

import asyncio
import csv
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from tests.support.asterisk import Asterisk
from tests.support.audit import audit
from tests.support.traffic import Leg, Traffic, difference
from tests.support.world import World

__all__ = ["SETTLE_S", "assert_books_are_right", "keep_evidence", "settled", "stored_calls"]

# Everything is up again: what waits is stored, what was not seen is read from the PBX's own records.
SETTLE_S: Final = 60.0

# CEL columns of the shipped file.
EVENT, TIME, CHANNEL, LINKEDID = 0, 1, 9, 15
TRUNK = re.compile(r"PJSIP/(gsm1|sip2)-")


async def settled(world: World, traffic: Traffic, *, within: float = SETTLE_S) -> list[asyncpg.Record]:
    """The books as soon as they are right, or as they are when the time is up."""
    stored: list[asyncpg.Record] = []
    try:
        async with asyncio.timeout(within):
            while difference(traffic.expected, _legs(stored)):
                await asyncio.sleep(0.5)
                stored = await stored_calls(world.dsn)
    except TimeoutError:
        pass  # the assertions say what is wrong
    return stored


def keep_evidence(world: World, stored: Sequence[asyncpg.Record], happened: Sequence[str], folder: Path) -> None:
    """For whoever looks for the reason of a failure: pytest keeps the folder, the daemon's log is there already."""
    shutil.copy(world.asterisk.cel, folder / "cel.csv")
    (folder / "happened.txt").write_text("\n".join(happened))
    (folder / "calls.txt").write_text("\n".join(str(dict(call)) for call in stored))


async def assert_books_are_right(world: World, traffic: Traffic, stored: Sequence[asyncpg.Record]) -> None:
    """Every call once and as planned, the counters agree with the calls, and no task of the daemon died of a bug."""
    real, known = _calls_of_the_pbx(world.asterisk), {call["linkedid"] for call in stored}
    assert not {linkedid: end for linkedid, end in real.items() if linkedid not in known}, "not stored, with their end"
    assert not known - real.keys(), "stored and never were"
    assert difference(traffic.expected, _legs(stored)) == ""
    assert await audit(world.dsn) == []
    for enterprise_number in await world.store.recount.enterprises():
        assert [each async for each in world.store.recount.differences(enterprise_number)] == []
    assert "Traceback" not in world.daemon.log.read_text()


def _calls_of_the_pbx(asterisk: Asterisk) -> dict[str, str]:
    """By Asterisk's own records: the calls in which a trunk took part, and when their last channel ended."""
    with asterisk.cel.open(newline="") as file:
        rows = list(csv.reader(file))
    customers = {row[LINKEDID] for row in rows if row[EVENT] == "CHAN_START" and TRUNK.match(row[CHANNEL])}
    return {row[LINKEDID]: row[TIME] for row in rows if row[LINKEDID] in customers}


async def stored_calls(dsn: str) -> list[asyncpg.Record]:
    """Every customer's call in the books, by its start; `id` tells in which order they were written."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(
            "SELECT id, linkedid, direction, phone_e164, status, reason, source, partial, started_at, ended_at, path,"
            " rung FROM calls WHERE direction <> 'internal' AND merged_into IS NULL ORDER BY started_at"
        )
    finally:
        await connection.close()


def _legs(calls: Sequence[asyncpg.Record]) -> list[Leg]:
    return [(call["direction"], call["phone_e164"], call["status"]) for call in calls]
