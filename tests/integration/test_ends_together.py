"""Calls that end together are stored together, and nobody can tell it from what is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from traceback import format_exception

import asyncpg
import pytest

from tests.support.calls import answered, internal, missed
from tests.support.postgres import PostgresServer, statements_that_wait
from vochi_agent.calls.ledger import unrelated
from vochi_agent.calls.model import Call, Direction, Source
from vochi_agent.customers.model import Customer, History, Names, Profile
from vochi_agent.errors import StoreRefused
from vochi_agent.ports import CardDraft, Recorded, Reminder
from vochi_agent.store.postgres import PostgresStore

PHONES = tuple(f"+37529000{number:04}" for number in range(12))
ERASED, NOW = PHONES[3], datetime.now(UTC).replace(microsecond=0)
TABLES = {
    "calls": "id, created_at, updated_at",
    "customers": "id",
    "cards": "id, token, created_at, updated_at, changed_at",
    "call_backs": "",
    "outbox": "id, created_at, updated_at, retry_at",
    "erasures": "id, phone_hash, erased_at, returned_at, done",
}


def card(call: Call, customer: Customer | None, before: History | None, *, call_back: object = None) -> list[CardDraft]:
    """Everything a renderer is given, in two chats; the second wants missed calls, and to be reminded."""
    text = f"{call.status} {customer and customer.history} {before} {call_back is not None}"
    reminder = Reminder(text="remind", brief="r", at=NOW + timedelta(hours=1)) if call_back else None
    return [
        CardDraft(chat_id=-100, topic=0, text=text, silent=True),
        CardDraft(chat_id=-200, topic=0, text=text, silent=False, wanted=call_back is not None, reminder=reminder),
    ]


def some_calls(chance: Random) -> list[Call]:
    """What a PBX may tell: by few people, out of order, repeated, corrected, of old, of nobody."""
    calls: list[Call] = []
    for number in range(120):
        kind = chance.choice((answered, answered, missed, missed, internal))
        call = kind(linkedid=f"1.{number}", started_at=NOW - timedelta(seconds=chance.randrange(200_000)))
        if call.direction is not Direction.INTERNAL:
            call = replace(
                call, phone=chance.choice((*PHONES, None)), direction=chance.choice((Direction.IN, Direction.OUT))
            )
        if calls and chance.random() < 0.3:
            again = chance.choice(calls)
            later = timedelta(hours=chance.choice((0, 0, 0, 5)))  # a box without a clock repeats its linkedids
            call = replace(
                chance.choice((again, replace(call, linkedid=again.linkedid, started_at=again.started_at + later))),
                source=chance.choice((Source.LIVE, Source.RECOVERY)),
                partial=chance.random() < 0.3,
            )
        calls.append(call)
    return calls


async def prepare(store: PostgresStore, dsn: str) -> asyncpg.Connection:
    """Somebody was erased, and calls have left for their age."""
    store.calls.crms = {"0901": ["retailcrm", "uon"]}
    connection = await asyncpg.connect(dsn)
    await store.calls.record(answered(linkedid="0.1", phone=ERASED, started_at=NOW - timedelta(days=2)), card)
    await store.erasure.erase("0901", [ERASED], by="dpo")
    await connection.execute("UPDATE erasures SET erased_at = $1", NOW - timedelta(hours=20))
    await connection.execute("INSERT INTO retention VALUES ('0901', $1)", NOW - timedelta(hours=50))
    return connection


async def everything(connection: asyncpg.Connection) -> Mapping[str, Sequence[str]]:
    """All rows, but for what says when they were written."""
    return {
        table: sorted(
            str({name: value for name, value in row.items() if name not in unlike.split(", ")})
            for row in await connection.fetch(f"SELECT * FROM {table}")
        )
        for table, unlike in TABLES.items()
    }


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_same_is_stored_as_one_after_the_other(
    store: PostgresStore, dsn: str, postgres: PostgresServer, seed: int
) -> None:
    calls = some_calls(Random(seed))
    async with postgres.database() as other_dsn, PostgresStore(other_dsn) as other:
        one, two = await prepare(store, dsn), await prepare(other, other_dsn)
        singly = [await store.calls.record(call, card) for call in calls]
        together: list[Recorded] = []
        transactions = 0
        while len(together) < len(calls):
            together += await other.calls.record_some(calls[len(together) : len(together) + 32], card)
            transactions += 1
        apart, joint = await everything(one), await everything(two)
        await one.close()
        await two.close()

    assert together == singly
    assert transactions < len(calls) / 2
    for table in TABLES:
        assert joint[table] == apart[table], table


async def test_of_some_that_cannot_all_be_stored_none_is(store: PostgresStore) -> None:
    good, bad = answered(linkedid="1.1"), answered(linkedid="1.2", phone=PHONES[1], wait_seconds="long")

    with pytest.raises(StoreRefused) as refused:
        await store.calls.record_some([good, bad], card)

    assert "long" not in "".join(format_exception(refused.value))  # the log prints it with its traceback
    assert await store.reports.call("1.1") is None
    assert await store.calls.record_some([good], card) == [Recorded(inserted=True, changed=True)]


def test_calls_have_to_do_with_each_other_by_customer_linkedid_and_enterprise() -> None:
    first = answered(linkedid="1.1", phone=PHONES[1])

    for second in (
        answered(linkedid="1.2", phone=PHONES[1]),
        answered(linkedid="1.1", phone=PHONES[2]),
        answered(linkedid="1.1~2", phone=PHONES[2]),
        answered(linkedid="1.2", phone=PHONES[2], enterprise_number="0902"),
    ):
        assert unrelated([first, second, answered(linkedid="1.3", phone=PHONES[3])]) == [first]
    others = [answered(linkedid="1.2", phone=PHONES[2]), internal(linkedid="1.3"), internal(linkedid="1.4")]
    assert unrelated([first, *others]) == [first, *others]


async def test_a_new_ledger_is_analysed_before_it_grows(store: PostgresStore, dsn: str) -> None:
    """Until autovacuum comes by, PostgreSQL would plan as if it were empty and read all of it for each call."""
    calls = [answered(linkedid=f"1.{number}", phone=f"+37529{number:07}") for number in range(250)]
    connection = await asyncpg.connect(dsn)
    size = "SELECT reltuples::int FROM pg_class WHERE oid = 'calls'::regclass"

    await store.calls.record_some(calls[:100], card)
    assert await connection.fetchval(size) <= 0
    await store.calls.record_some(calls[100:200], card)
    assert await connection.fetchval(size) == 200
    await connection.close()


# ---------------------------------------------------------------- people with several numbers


async def known_by_two_numbers(store: PostgresStore, external_id: str, *phones: str) -> None:
    profile = Profile(source="uon", external_id=external_id, names=Names(last_name="Тестов"), phones=phones)
    await store.customers.enrich("0901", phones[0], profile, primary=True)


async def until_wait(dsn: str, count: int) -> None:
    async with asyncio.timeout(4):
        while await statements_that_wait(dsn) < count:
            await asyncio.sleep(0.01)


async def test_two_that_store_calls_of_the_same_people_crosswise_do_not_refuse_each_other(
    store: PostgresStore, dsn: str
) -> None:
    """Two people with two numbers each wait to be called back; two writers store calls of theirs, one in this order and
    one in the other, and each is held up between the first and the second by somebody who reads.
    """
    one, two, here, there = PHONES[0:2], PHONES[4:6], PHONES[8], PHONES[9]
    await known_by_two_numbers(store, "1", *one)
    await known_by_two_numbers(store, "2", *two)
    for place, phone in enumerate((one[0], two[0], here, there)):
        in_vain = missed(linkedid=f"1.{place}", phone=phone, started_at=NOW - timedelta(minutes=9))
        await store.calls.record(in_vain, card)

    def talks(name: str, *phones: str) -> list[Call]:
        return [
            answered(linkedid=f"{name}.{place}", phone=phone, started_at=NOW - timedelta(minutes=5))
            for place, phone in enumerate(phones)
        ]

    reader = await asyncpg.connect(dsn)
    async with asyncio.TaskGroup() as writers:
        await reader.execute("BEGIN")
        await reader.execute("SELECT FROM call_backs WHERE phone_e164 = ANY ($1) FOR UPDATE", [here, there])
        first = writers.create_task(store.calls.record_some(talks("2", one[0], here, two[0]), card))
        second = writers.create_task(store.calls.record_some(talks("3", two[1], there, one[1]), card))
        await until_wait(dsn, 2)
        await reader.execute("COMMIT")

    assert len(first.result()) == len(second.result()) == 3
    reached = await reader.fetchval("SELECT count(*) FROM call_backs WHERE reached_at IS NOT NULL")
    await reader.close()
    assert reached == 4


async def test_who_is_reached_on_his_other_number_while_his_call_is_stored_waits_no_more(
    store: PostgresStore, dsn: str
) -> None:
    """Neither of two writers sees what the other has not committed: one of them has to come after the other."""
    calling, called = PHONES[0:2]
    await known_by_two_numbers(store, "1", calling, called)
    began = NOW - timedelta(minutes=9)
    slow = await asyncpg.connect(dsn)
    async with asyncio.TaskGroup() as writers:
        await slow.execute("BEGIN")
        # Whoever stores the missed call comes to its cards, and waits there.
        await slow.execute(
            "INSERT INTO cards (enterprise_number, linkedid, chat_id, phase, text, silent)"
            " VALUES ('0901', '1.1', -100, 'start', '', true)"
        )
        writers.create_task(store.calls.record(missed(linkedid="1.1", phone=calling, started_at=began), card))
        await until_wait(dsn, 1)
        talk = answered(linkedid="1.2", phone=called, started_at=began + timedelta(minutes=2))
        talking = writers.create_task(store.calls.record(talk, card))
        waits = writers.create_task(until_wait(dsn, 2))
        await asyncio.wait([talking, waits], return_when=asyncio.FIRST_COMPLETED)
        await slow.execute("COMMIT")

    reached = await slow.fetchval("SELECT reached_in FROM call_backs WHERE linkedid = '1.1'")
    await slow.close()
    assert reached == "1.2"


async def test_calls_of_somebody_who_is_erased_at_this_moment_are_stored(store: PostgresStore, dsn: str) -> None:
    """His row is there when a writer looks, and gone when he has it."""
    await store.calls.record_some([answered(linkedid=f"1.{place}", phone=PHONES[place]) for place in range(2)], card)
    eraser = await asyncpg.connect(dsn)
    async with asyncio.TaskGroup() as writers:
        await eraser.execute("BEGIN")
        await eraser.execute("DELETE FROM customers WHERE phone_e164 = $1", PHONES[1])
        later = [missed(linkedid=f"2.{place}", phone=PHONES[place]) for place in range(2)]
        storing = writers.create_task(store.calls.record_some(later, card))
        await until_wait(dsn, 1)
        await eraser.execute("COMMIT")
    counted = await eraser.fetch("SELECT calls_total_in FROM customers ORDER BY phone_e164")
    await eraser.close()

    assert len(storing.result()) == 2
    assert [row["calls_total_in"] for row in counted] == [2, 1]
