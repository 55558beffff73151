"""A ledger of any size, written by the server itself, for benchmarks and for tests that need time to kill something."""

from typing import Final

import asyncpg

__all__ = ["write_calls"]

# Few call often, many once; hidden and internal calls are among them, and every tenth has no line.
CALLS: Final = """
INSERT INTO calls (
    enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number, line, started_at, answered_at,
    ended_at, wait_seconds, talk_seconds, first_agent, last_agent, path, rung, source
)
SELECT
    '0901', (1700000000 + n * 7)::text || '.' || n, direction, status, 'talked',
    CASE WHEN n % 50 = 0 OR direction = 'internal' THEN NULL
         ELSE '+37529' || lpad((power(random(), 3) * $2)::int::text, 7, '0') END,
    '80290000011', CASE WHEN n % 10 > 0 THEN '000170' || n % 3 END,
    started, CASE WHEN status = 'answered' THEN started + interval '5 s' END,
    started + interval '5 s' + (random() * 300)::int * interval '1 s', 5, 60, '151',
    CASE WHEN status = 'answered' THEN (150 + n % 9)::text END, '{151}', '{150,151}', 'live'
FROM (
    SELECT
        n, timestamptz '2020-01-01' + n * interval '7 s' AS started,
        (ARRAY['in', 'in', 'in', 'out', 'internal'])[1 + n % 5] AS direction,
        (ARRAY['answered', 'answered', 'missed'])[1 + (random() * 2.99)::int % 3] AS status
    FROM generate_series(1, $1) AS n
) AS told
"""


async def write_calls(connection: asyncpg.Connection, calls: int) -> None:
    """So many calls of enterprise 0901 by about a fifth as many customers, the same every time."""
    await connection.execute("SELECT setseed(0.5)")
    await connection.execute(CALLS, calls, calls // 5)
