"""Two daemons on one database, a call and a webhook, all at the same moment: one person, right counters."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, missed
from vochi_agent.customers.model import Names, Profile
from vochi_agent.store.postgres import PostgresStore

RUNS = 200
LONGEST_PAUSE_S = 0.008


@pytest.fixture
async def two_daemons(dsn: str) -> AsyncIterator[list[PostgresStore]]:
    """As many connections as two processes have, and nothing in common but the database."""
    async with PostgresStore(dsn, pool_size=5) as one, PostgresStore(dsn, pool_size=5) as other:
        yield [one, other]


@pytest.fixture
async def observer(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    yield connection
    await connection.close()


def profile(source: str, external_id: str, *phones: str, **more: Any) -> Profile:
    names = Names(last_name=f"{source} {external_id}")
    return Profile(source=source, external_id=external_id, names=names, phones=phones, **more)


async def test_two_daemons_a_call_and_a_webhook_at_once_make_one_person_with_right_counters(
    two_daemons: list[PostgresStore], observer: asyncpg.Connection, dsn: str
) -> None:
    """The same call stored by both, live and corrected; a profile from each of two CRMs and a webhook about numbers
    that overlap: whatever comes first, the three numbers are one person and every id is there.
    """
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    one, other = two_daemons
    for run in range(RUNS):
        calling, shared, third = (f"+37529{run:03}00{place}0" for place in range(3))
        started = NOON + timedelta(minutes=run)
        call = missed(linkedid=f"{run}.1", phone=shared, started_at=started, partial=True)
        corrected = answered(linkedid=f"{run}.1", phone=shared, started_at=started)
        retail = profile("retailcrm", f"r{run}", calling, shared, phones_complete=True)
        uon = profile("uon", f"u{run}", shared, third)
        steps = [
            one.calls.record(call, lambda *_, **__: ()),
            other.calls.record(corrected, lambda *_, **__: ()),
            other.calls.record(call, lambda *_, **__: ()),
            one.customers.enrich("0901", shared, retail, primary=True),
            other.customers.enrich("0901", calling, retail, primary=True),
            other.customers.enrich("0901", shared, uon, primary=False),
            one.customers.enrich("0901", third, profile("uon", f"u{run}", third), primary=False),
        ]
        chance.shuffle(steps)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(after(chance.uniform(0, LONGEST_PAUSE_S), step))

        rows = await observer.fetch("SELECT * FROM customers WHERE phone_e164 LIKE $1 ORDER BY 3", f"+37529{run:03}%")
        told = f"run {run} of seed {seed}: {[dict(row) for row in rows]}"
        metas = {row["phone_e164"]: row["meta"] for row in rows}
        assert metas.keys() == {calling, shared, third}, told
        assert len({meta["person_uid"] for meta in metas.values()}) == 1, told
        assert metas[calling]["ids"] == {"retailcrm": [f"r{run}"]}, told
        assert metas[shared]["ids"] == {"retailcrm": [f"r{run}"], "uon": [f"u{run}"]}, told
        assert metas[third]["ids"] == {"uon": [f"u{run}"]}, told
        assert {row["last_name"] for row in rows} == {f"retailcrm r{run}"}, told
        assert [row["calls_total_in"] for row in rows if row["phone_e164"] == shared] == [1], told

    assert await audit(dsn) == []
    assert await observer.fetchval("SELECT sum(calls_answered_in) FROM customers") == RUNS
    assert await observer.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def after(seconds: float, work: Any) -> None:
    await asyncio.sleep(seconds)
    await work
