"""Counters are exactly-once: any order, repetition, correction and race ends like one aggregation over `calls`."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.audit import audit
from tests.support.calls import NOON, answered, internal, missed
from tests.support.postgres import PostgresServer
from vochi_agent.calls.model import Call, Direction, Reason, Source, Status
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import LinkRefused
from vochi_agent.store.postgres import PostgresStore

LINKEDIDS = ("1.1", "1.2", "1.3", "1.4", "1.5", "1.6")
PHONES = ("+375290000011", "+375290000022", "+375290000033")

# What contract and requirement say, written once more and differently from the product.
AGGREGATION = """
SELECT phone_e164,
       min(started_at) AS first_seen_at,
       max(ended_at) AS last_seen_at,
       sum((direction = 'in')::int)::int AS calls_total_in,
       sum((direction = 'out')::int)::int AS calls_total_out,
       sum((direction = 'in' AND status = 'answered')::int)::int AS calls_answered_in,
       sum((direction = 'out' AND status = 'answered')::int)::int AS calls_answered_out,
       sum((direction = 'in' AND status <> 'answered')::int)::int AS calls_missed_in,
       sum((direction = 'out' AND status <> 'answered')::int)::int AS calls_missed_out,
       max(ended_at) AS last_call_at,
       (array_agg(direction ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_direction,
       (array_agg(status ORDER BY ended_at DESC, linkedid DESC))[1] AS last_call_status,
       max(ended_at) FILTER (WHERE status = 'answered') AS last_success_at,
       (array_agg(last_agent ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE status = 'answered'))[1]
           AS last_agent_internal,
       (array_agg(line ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE line IS NOT NULL AND line <> ''))[1]
           AS last_line
FROM calls
WHERE phone_e164 IS NOT NULL AND direction <> 'internal' AND merged_into IS NULL
GROUP BY phone_e164
ORDER BY phone_e164
"""
STORED = """
SELECT phone_e164, first_seen_at, last_seen_at, calls_total_in, calls_total_out, calls_answered_in, calls_answered_out,
       calls_missed_in, calls_missed_out, last_call_at, last_call_direction, last_call_status, last_success_at,
       last_agent_internal, last_line
FROM customers
WHERE last_call_at IS NOT NULL OR calls_total_in + calls_total_out + calls_missed_in + calls_missed_out > 0
ORDER BY phone_e164
"""


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer beside the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@st.composite
def records(draw: st.DrawFn) -> Call:
    """A finished call of one of a few linkedids, so that orders, corrections and repeats meet."""
    started = NOON + timedelta(minutes=draw(st.integers(0, 240)))
    common = {
        "linkedid": draw(st.sampled_from(LINKEDIDS)),
        "phone": draw(st.sampled_from([PHONES[0], PHONES[0], PHONES[1], None])),
        "line": draw(st.sampled_from(["0001701", "0001702", "", None])),
        "source": draw(st.sampled_from(Source)),
        "partial": draw(st.booleans()),
        "started_at": started,
    }
    kind = draw(st.sampled_from(["answered", "missed", "answered", "missed", "unknown", "internal"]))
    if kind == "internal":
        return internal(**{**common, "phone": None})
    common["direction"] = draw(st.sampled_from([Direction.IN, Direction.OUT, Direction.UNKNOWN]))
    if kind == "answered":
        return answered(**common, last_agent=draw(st.sampled_from(["150", "151", None])))
    if kind == "missed":
        return missed(**common)
    return missed(**common, status=Status.UNKNOWN, reason=Reason.UNKNOWN_END)


merges = st.sampled_from(LINKEDIDS)
profiles = st.builds(
    Profile,
    source=st.sampled_from(["retailcrm", "uon"]),
    external_id=st.sampled_from(["1", "2"]),
    company_id=st.sampled_from(["", "77"]),
    names=st.just(Names(last_name="Тестов")),
    phones=st.lists(st.sampled_from(PHONES), min_size=1, unique=True).map(tuple),
    phones_complete=st.booleans(),
)
links = st.sampled_from(list(itertools.combinations(PHONES, 2)))


@settings(
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.one_of(records(), records(), records(), records(), merges, profiles, links), min_size=4, max_size=16
    )
)
async def test_customers_equal_one_aggregation_over_calls(
    steps: list[Call | str | Profile | tuple[str, str]], dsn: str, connection: asyncpg.Connection
) -> None:
    """Whatever is recorded, corrected, merged, repeated, and whoever turns out to be one person in between."""
    await connection.execute("TRUNCATE calls, customers, cards")
    async with PostgresStore(dsn, pool_size=1) as store:
        for step in steps:
            if isinstance(step, Call):
                await store.calls.record(step, lambda *_, **__: ())
                again = await store.calls.record(step, lambda *_, **__: ())
                assert again.changed is False
            elif isinstance(step, Profile):
                await _enriched(store, step.phones[0], step)
            elif isinstance(step, tuple):
                with contextlib.suppress(LinkRefused):
                    await store.customers.link("0901", *step)
            else:
                await store.calls.merge("0901", step, "9.9")

    customers = [tuple(row) for row in await connection.fetch(STORED)]
    assert customers == [tuple(row) for row in await connection.fetch(AGGREGATION)]
    assert await audit(dsn) == []


@pytest.fixture
async def two_daemons(postgres: PostgresServer, dsn: str) -> list[PostgresStore]:
    return [PostgresStore(dsn, pool_size=5), PostgresStore(dsn, pool_size=5)]


async def test_two_daemons_count_each_call_once_and_lose_no_id(
    two_daemons: list[PostgresStore], connection: asyncpg.Connection
) -> None:
    """Both record the same calls of three numbers, move them between numbers and enrich them, all at once."""

    async def daemon(store: PostgresStore, name: str) -> None:
        for number in range(40):
            phone, moved = PHONES[number % 3], PHONES[(number + 1) % 3]
            started = NOON + timedelta(minutes=number)
            profile = Profile(source=name, external_id=str(number + 1), names=Names(first_name=name), phones=PHONES)
            async with asyncio.TaskGroup() as group:
                for call in (
                    missed(linkedid=f"1.{number}", phone=phone, started_at=started),
                    answered(linkedid=f"1.{number}", phone=moved, started_at=started, partial=True),
                ):
                    group.create_task(_recorded(store, call))
                group.create_task(_enriched(store, phone, profile))

    one, other = two_daemons
    async with one, other, asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(daemon(one, "retailcrm"))
        group.create_task(daemon(other, "uon"))

    customers = [tuple(row) for row in await connection.fetch(STORED)]
    assert customers == [tuple(row) for row in await connection.fetch(AGGREGATION)]
    assert await connection.fetchval("SELECT sum(calls_missed_in) FROM customers") == 40
    lengths = "SELECT DISTINCT jsonb_array_length(ids -> 'uon') + jsonb_array_length(ids -> 'retailcrm') AS ids"
    assert await connection.fetch(f"{lengths} FROM (SELECT meta -> 'ids' AS ids FROM customers) AS each") == [(80,)]
    assert await connection.fetchval("SELECT count(DISTINCT meta ->> 'person_uid') FROM customers") == 1


async def _recorded(store: PostgresStore, call: Call) -> None:
    await store.calls.record(call, lambda *_, **__: ())


async def _enriched(store: PostgresStore, phone: str, profile: Profile) -> None:
    await store.customers.enrich("0901", phone, profile, primary=False)
