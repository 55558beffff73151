"""Counting again from the ledger: whole or a time of it, killed, and beside daemons that record calls."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, missed
from tests.support.polling import until
from tests.support.postgres import waits_for_a_lock
from tests.support.renderers import no_cards
from vochi_agent.calls.model import Call, Direction
from vochi_agent.customers.model import Names, Profile
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.recount import ALL_TIME, Backfilled, CallTime

OURS, OTHER, GONE = "+375290000011", "+375290000022", "+375290000033"
EVERYTHING = "SELECT * FROM customers ORDER BY enterprise_number, phone_e164"
COUNTERS = "calls_total_in, calls_total_out, calls_answered_in, calls_missed_in, calls_missed_out"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer and vandal beside the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def backfilled(store: PostgresStore, wanted: CallTime = ALL_TIME, *, anew: bool = False) -> Backfilled:
    return [place async for place in store.recount.backfill("0901", wanted, anew=anew)][-1]


async def told(store: PostgresStore) -> list[tuple[str, str]]:
    return [(each.phone_e164, each.column) async for some in store.recount.differences("0901") for each in some]


async def test_rows_that_were_lost_spoilt_or_have_no_calls_any_more_come_to_say_what_the_calls_say(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    for number, phone in enumerate((OURS, OTHER, GONE)):
        await store.calls.record(answered(linkedid=f"1.{number}", phone=phone), no_cards)
        late = NOON + timedelta(hours=1)
        await store.calls.record(missed(linkedid=f"2.{number}", phone=phone, started_at=late), no_cards)
    before = await connection.fetch(EVERYTHING)
    await connection.execute("DELETE FROM customers WHERE phone_e164 = $1", OTHER)
    await connection.execute("UPDATE customers SET calls_missed_in = NULL, last_line = 'x' WHERE phone_e164 = $1", OURS)
    await connection.execute("DELETE FROM calls WHERE phone_e164 = $1", GONE)
    assert set(await told(store)) > {(OURS, "last_line"), (OTHER, "calls_total_in"), (GONE, "calls_total_in")}

    done = await backfilled(store)

    assert (done.customers, done.done, done.changed, done.finished) == (2, 3, 3, True)
    assert await audit(dsn) == []
    assert await told(store) == []
    after = await connection.fetch(EVERYTHING)
    assert [tuple(row)[1:] for row in after[:2]] == [tuple(row)[1:] for row in before[:2]]
    assert (after[2]["calls_total_in"], after[2]["first_seen_at"], after[2]["last_line"]) == (0, None, None)
    assert (await backfilled(store)).changed == 0
    assert await connection.fetchval("SELECT count(*) FROM backfills") == 0


async def test_names_black_list_fields_and_meta_are_nobodys_business(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    await store.calls.record(answered(phone=OURS), no_cards)
    profile = Profile(source="uon", external_id="7", names=Names(first_name="Анна", enterprise_name="Ромашка"))
    await store.customers.enrich("0901", OURS, profile, primary=True)
    await store.customers.enrich("0901", OTHER, profile, primary=True)
    await store.customers.edit("0901", OURS, {"black_list": True, "field1": "один", "field4": "четыре"})
    before = await connection.fetch(EVERYTHING)
    await connection.execute("UPDATE customers SET calls_total_in = 9")

    assert (await backfilled(store)).changed == 2
    assert await connection.fetch(EVERYTHING) == before


async def test_a_time_chooses_customers_and_their_rows_are_built_from_all_their_calls(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    """The aggregates are totals: there is nothing else they could say."""
    for days, phone in ((0, OURS), (5, OURS), (0, OTHER)):
        started = NOON + timedelta(days=days)
        await store.calls.record(answered(linkedid=f"{days}.{phone}", phone=phone, started_at=started), no_cards)
    await connection.execute("UPDATE customers SET calls_total_in = 9")

    done = await backfilled(store, CallTime(NOON + timedelta(days=5), NOON + timedelta(days=5, seconds=1)))

    totals = await connection.fetch("SELECT phone_e164, calls_total_in FROM customers ORDER BY phone_e164")
    assert [tuple(row) for row in totals] == [(OURS, 2), (OTHER, 9)]
    assert (done.customers, done.done, done.changed) == (1, 1, 1)
    nobody = await backfilled(store, CallTime(NOON + timedelta(days=1), NOON + timedelta(days=5)))
    assert (nobody.customers, nobody.done) == (0, 0)


async def test_calls_recorded_meanwhile_are_counted_once(dsn: str, store: PostgresStore) -> None:
    """Backfill and audit go round and round while two daemons record, correct and merge calls."""
    dice = random.Random(5)
    phones = [f"+37529000{number:04}" for number in range(60)]

    def call(number: int) -> Call:
        started = NOON + timedelta(minutes=dice.randrange(600))
        way = dice.choice([Direction.IN, Direction.OUT])
        kind = dice.choice([answered, missed])
        return kind(linkedid=f"1.{number}", phone=dice.choice(phones), started_at=started, direction=way)

    async def daemon(one: PostgresStore) -> None:
        for _ in range(400):
            number = dice.randrange(250)
            if dice.random() < 0.1:
                await one.calls.merge("0901", f"1.{number}", "9.9")
            else:
                await one.calls.record(call(number), no_cards)

    async def backfiller() -> None:
        while True:
            await backfilled(store, anew=dice.random() < 0.5)
            assert await told(store) == [], "a difference that there never was"

    async with PostgresStore(dsn, pool_size=4) as other, asyncio.timeout(100):
        around = [asyncio.create_task(backfiller()) for _ in range(2)]
        async with asyncio.TaskGroup() as daemons:
            for one in (store, store, other, other):
                daemons.create_task(daemon(one))
        for task in around:
            assert not task.done(), task.result()
            task.cancel()
        await asyncio.gather(*around, return_exceptions=True)

    assert await audit(dsn) == []


async def test_a_row_that_a_daemon_holds_delays_it_and_what_the_daemon_counts_stays(
    store: PostgresStore, connection: asyncpg.Connection, dsn: str
) -> None:
    """The daemon has locked the row and counted a call, but not committed, when the backfill comes to it."""
    await store.calls.record(answered(phone=OURS), no_cards)
    await connection.execute("UPDATE customers SET calls_total_in = 9, calls_answered_in = 9")
    daemon = connection.transaction()
    await daemon.start()
    await connection.execute("SELECT FROM customers FOR UPDATE")
    await connection.execute(
        "INSERT INTO calls (enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number, started_at,"
        " ended_at, wait_seconds, talk_seconds, source)"
        " SELECT '0901', '2.1', 'in', 'missed', 'no_answer', $1, '', started_at, ended_at, 0, 0, 'live' FROM calls",
        OURS,
    )
    await connection.execute("UPDATE customers SET calls_total_in = calls_total_in + 1, calls_missed_in = 1")
    backfill = asyncio.create_task(backfilled(store))
    await until(lambda: waits_for_a_lock(dsn), within=20)
    assert not backfill.done()
    await daemon.commit()

    assert (await backfill).changed == 1
    row = await connection.fetchrow(f"SELECT {COUNTERS} FROM customers")
    assert tuple(row) == (2, 0, 1, 1, 0)
