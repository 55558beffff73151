"""`vochi-agent backfill` against the plain `INSERT … SELECT … GROUP BY` of the same calls, side by side on one server.

    python -m benchmarks.backfill [--calls 1000000] [--rounds 3]

Both fill an empty table with the columns, constraints and indexes of `customers`. The plain statement is one
transaction that remembers no place and lets nobody record a call meanwhile; ours is the method behind the command. They
run by turns, so that a machine that grows slower slows both; the ratio of the medians is what counts.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from benchmarks.row import Reach, Row
from benchmarks.support.database import durable_server
from tests.support.many_calls import write_calls
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.recount import ALL_TIME

ENTERPRISE: Final = "0901"
# Those that no constraint brings with it.
OWN_INDEXES: Final = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename = 'calls' AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = 'calls'::regclass)
"""

PLAIN: Final = """
INSERT INTO plain (
    enterprise_number, phone_e164, calls_total_in, calls_total_out, calls_answered_in, calls_answered_out,
    calls_missed_in, calls_missed_out, first_seen_at, last_seen_at, last_call_at, last_call_direction,
    last_call_status, last_success_at, last_agent_internal, last_line
)
SELECT
    enterprise_number, phone_e164,
    count(*) FILTER (WHERE direction = 'in'),
    count(*) FILTER (WHERE direction = 'out'),
    count(*) FILTER (WHERE direction = 'in' AND status = 'answered'),
    count(*) FILTER (WHERE direction = 'out' AND status = 'answered'),
    count(*) FILTER (WHERE direction = 'in' AND status <> 'answered'),
    count(*) FILTER (WHERE direction = 'out' AND status <> 'answered'),
    min(started_at), max(ended_at), max(ended_at),
    (array_agg(direction ORDER BY ended_at DESC, linkedid DESC))[1],
    (array_agg(status ORDER BY ended_at DESC, linkedid DESC))[1],
    max(ended_at) FILTER (WHERE status = 'answered'),
    (array_agg(last_agent ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE status = 'answered'))[1],
    (array_agg(line ORDER BY ended_at DESC, linkedid DESC) FILTER (WHERE line <> ''))[1]
FROM calls
WHERE phone_e164 IS NOT NULL AND direction <> 'internal' AND merged_into IS NULL
GROUP BY enterprise_number, phone_e164
"""
COLUMNS: Final = PLAIN.partition("(")[2].partition(")")[0]


async def main(calls: int, rounds: int) -> None:
    """Measure and print the row."""
    with durable_server() as (server, _):
        await server.make_template()
        async with server.database() as dsn, PostgresStore(dsn) as store:
            connection = await asyncpg.connect(dsn)
            print(f"writing {calls:,} calls", file=sys.stderr)
            await _fill(connection, calls)
            before = _memory_mib()
            times: list[tuple[float, float]] = []
            for turn in range(rounds):
                print(f"round {turn + 1} of {rounds}", file=sys.stderr)
                plain = await _seconds(connection, "plain", lambda: connection.execute(PLAIN, timeout=3600))
                times.append((await _seconds(connection, "customers", lambda: _backfill(store)), plain))
            if not await _same(connection):
                raise RuntimeError("the plain statement and ours say different things")
            customers = await connection.fetchval("SELECT count(*) FROM customers")
            again = await _seconds(connection, None, lambda: _backfill(store))
            audit = await _seconds(connection, None, lambda: _audit(store))
            await connection.close()
    ours, plain_s = zip(*times, strict=True)
    details = {
        "customers": customers,
        "backfill_s": ours,
        "plain_s": plain_s,
        "ratios": [one / other for one, other in times],
        "again_ratio": again / statistics.median(plain_s),
        "audit_ratio": audit / statistics.median(plain_s),
        "memory_mib": _memory_mib() - before,
    }
    row = Row(
        work=f"backfill of {calls:,} calls",
        ours=f"{statistics.median(ours):.1f} s",
        against="INSERT … SELECT … GROUP BY",
        theirs=f"{statistics.median(plain_s):.1f} s",
        figure=round(statistics.median(one / other for one, other in times), 2),
        unit="×",
        reach=Reach(at_most=2.0),
        details=details,
    )
    print(row.to_json(), flush=True)


async def _fill(connection: asyncpg.Connection, calls: int) -> None:
    """Write the calls; neither work changes them, so how they come there may be quick and need survive no crash."""
    indexes = await connection.fetch(OWN_INDEXES)
    await connection.execute("".join(f"DROP INDEX {name};" for name, _ in indexes) + "ALTER TABLE calls SET UNLOGGED")
    await write_calls(connection, calls)
    await connection.execute(";".join(definition for _, definition in indexes), timeout=600)
    await connection.execute("CREATE TABLE plain (LIKE customers INCLUDING ALL)")
    await connection.execute("VACUUM ANALYZE calls", timeout=600)


async def _seconds(connection: asyncpg.Connection, table: str | None, work: Callable[[], Awaitable[object]]) -> float:
    if table:
        await connection.execute(f"TRUNCATE {table}")
        await connection.execute("CHECKPOINT")
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _backfill(store: PostgresStore) -> None:
    async for _ in store.recount.backfill(ENTERPRISE, ALL_TIME):
        pass


async def _audit(store: PostgresStore) -> None:
    async for _ in store.recount.differences(ENTERPRISE):
        raise AssertionError("what was just counted differs")


def _memory_mib() -> float:
    """The most this process ever had; PostgreSQL's share has its own bounds."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _same(connection: asyncpg.Connection) -> bool:
    """Whether both tables say the same."""
    one, other = (f"SELECT {COLUMNS} FROM {table}" for table in ("plain", "customers"))
    query = f"({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one}) LIMIT 1"
    return await connection.fetchrow(query, timeout=600) is None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.calls, arguments.rounds))
