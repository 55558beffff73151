"""`backfill` as people run it, and as somebody kills it."""

import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import answered, missed
from tests.support.company import Site
from tests.support.many_calls import write_calls
from tests.support.polling import until
from tests.support.postgres import waits_for_a_lock
from tests.support.renderers import no_cards

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

OURS, OTHER = "+375290000011", "+375290000022"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer beside the command."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_killed_half_way_it_goes_on_and_ends_with_the_same_rows(
    site: Site, connection: asyncpg.Connection, dsn: str
) -> None:
    await write_calls(connection, 60_000)
    await connection.execute("ANALYZE calls")
    last = await connection.fetchval("SELECT max(phone_e164) FROM calls")
    await connection.execute(
        "INSERT INTO customers (enterprise_number, phone_e164, calls_total_in) VALUES ('0901', $1, 7)", last
    )

    async def half_way() -> bool:
        return bool(await connection.fetchval("SELECT done FROM backfills")) and await waits_for_a_lock(dsn)

    holder = await asyncpg.connect(dsn)
    await holder.execute("BEGIN; SELECT FROM customers FOR UPDATE")
    process = await site._start("backfill")
    await until(half_way, within=60)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await holder.close()
    assert await audit(dsn) != []
    done = await connection.fetchval("SELECT done FROM backfills")

    answer = await site.vochi("backfill", "--json")

    [report] = answer.json()
    customers = await connection.fetchval("SELECT count(DISTINCT phone_e164) FROM calls WHERE direction <> 'internal'")
    assert (answer.code, report["customers"], report["done_before"]) == (0, customers, done)
    assert "going on after" in answer.err
    assert await audit(dsn) == []
    assert (await site.vochi("audit")).out == ""
    assert await connection.fetchval("SELECT count(*) FROM backfills") == 0


async def test_it_says_how_many_there_were_and_how_many_were_wrong(site: Site, dsn: str) -> None:
    await site.store.calls.record(answered(phone=OURS), no_cards)
    await site.store.calls.record(missed(linkedid="2.1", phone=OTHER), no_cards)
    vandal = await asyncpg.connect(dsn)
    await vandal.execute("UPDATE customers SET calls_missed_in = 5 WHERE phone_e164 = $1", OURS)
    await vandal.close()
    since = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"

    first, second = await site.vochi("backfill"), await site.vochi("backfill", "--json", "--to", since)

    assert [line.split() for line in first.out.splitlines()] == [
        ["enterprise", "customers", "changed"],
        ["0901", "2", "1"],
    ]
    assert second.json()[0]["changed"] == 0


@pytest.mark.parametrize("times", [["--from", "soon"], ["--from", "2026-11-20", "--to", "2026-11-20"]])
async def test_times_that_are_none_change_nothing(site: Site, times: list[str]) -> None:
    answer = await site.vochi("backfill", *times)

    assert (answer.code, answer.out) == (2, "")
    assert "--from" in answer.err
