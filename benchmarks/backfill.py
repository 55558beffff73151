"""`vochi-agent backfill` against the plain `INSERT … SELECT … GROUP BY` of the same calls, side by side on one server.

    make bench [CALLS=1000000]

Both fill an empty table with the columns, constraints and indexes of `customers`. The plain statement is one
transaction that remembers no place and lets nobody record a call meanwhile; ours is the method behind the command. They
run by turns, so that a machine that grows slower slows both; the ratio of the medians is what counts.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncpg

from tests.support.many_calls import write_calls
from tests.support.postgres import PostgresServer
from vochi_agent.store.installations import find_installation
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.recount import ALL_TIME

ENTERPRISE: Final = "0901"
REACH: Final = 2.0

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


async def main(calls: int, rounds: int, output: Path | None) -> int:
    """Measure, print, compare; 0 when the ratio is what was promised."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)
        # A server as it comes, durable and with its own memory; the tests' one is neither.
        server = stack.enter_context(
            PostgresServer(find_installation().path / "bin", Path(folder), settings=("max_connections=60",))
        )
        await server.make_template()
        async with server.database() as dsn, PostgresStore(dsn) as store:
            connection = await asyncpg.connect(dsn)
            print(f"writing {calls:,} calls", file=sys.stderr)
            await write_calls(connection, calls)
            await connection.execute("CREATE TABLE plain (LIKE customers INCLUDING ALL)")
            await connection.execute("VACUUM ANALYZE calls")
            before = _memory_mib()
            plain, ours = [], []
            for turn in range(rounds):
                print(f"round {turn + 1} of {rounds}", file=sys.stderr)
                plain.append(await _seconds(connection, "plain", lambda: connection.execute(PLAIN, timeout=3600)))
                ours.append(await _seconds(connection, "customers", lambda: _backfill(store)))
            same = await _same(connection)
            customers = await connection.fetchval("SELECT count(*) FROM customers")
            again = await _seconds(connection, None, lambda: _backfill(store))
            audit = await _seconds(connection, None, lambda: _audit(store))
            await connection.close()
    result = {
        "calls": calls,
        "customers": customers,
        "plain_s": statistics.median(plain),
        "backfill_s": statistics.median(ours),
        "ratio": statistics.median(ours) / statistics.median(plain),
        "ratio_of_rounds": [one / other for one, other in zip(ours, plain, strict=True)],
        "again_ratio": again / statistics.median(plain),
        "audit_ratio": audit / statistics.median(plain),
        "memory_mib": _memory_mib() - before,
        "same_rows": same,
    }
    print(json.dumps(result, indent=2))
    if output:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if same and result["ratio"] <= REACH else 1


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
    parser.add_argument("--output", type=Path, help="write the result there as JSON")
    arguments = parser.parse_args()
    raise SystemExit(asyncio.run(main(arguments.calls, arguments.rounds, arguments.output)))
